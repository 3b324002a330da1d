-- Playlist entries that a reverse points at posts again.
SELECT e.id AS key
FROM public.playlist_tracks AS e
LEFT JOIN public.tracks AS t ON t.id = e.track_id
WHERE e.track_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM public.posts AS p WHERE p.id = e.track_id AND (t.id IS NULL OR p.user_id = t.user_id)
  )
   OR EXISTS (
       SELECT
       FROM tracks_posts_separation.archive AS a
       WHERE a.reason = 'entry_repointed'
         AND (a.row_data ->> 'id')::uuid = e.id
         AND (a.row_data ->> 'new_track_id')::uuid = e.track_id
   )
