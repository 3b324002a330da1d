-- What a full reverse archives: playlist entries that the old schema cannot hold, and every track that it deletes.
SELECT 'playlist entries of tracks that no post uses' AS what, e.id AS key
FROM public.playlist_tracks AS e
LEFT JOIN public.tracks AS t ON t.id = e.track_id
WHERE e.track_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM public.posts AS p
      WHERE p.id = e.track_id AND (t.id IS NULL OR p.user_id = t.user_id) OR p.track_id = e.track_id
  )
UNION ALL
SELECT 'tracks that the migration made, kept whole' AS what, made.id AS key
FROM tracks_posts_separation.made_track AS made
