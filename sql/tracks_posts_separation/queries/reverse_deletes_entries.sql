-- Playlist entries that a reverse archives: of tracks that no post uses.
SELECT e.id AS key
FROM public.playlist_tracks AS e
LEFT JOIN public.tracks AS t ON t.id = e.track_id
WHERE e.track_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM public.posts AS p
      WHERE p.id = e.track_id AND (t.id IS NULL OR p.user_id = t.user_id) OR p.track_id = e.track_id
  )
