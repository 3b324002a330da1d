-- Playlist entries that only the new application makes: of tracks that no post is named like.
SELECT r.table_name, r.key, r.at
FROM recent AS r
JOIN public.playlist_tracks AS e ON e.id = r.key::uuid
WHERE r.table_name = 'public.playlist_tracks' AND r.operation IN ('I', 'U')
  AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id)
