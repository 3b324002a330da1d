-- Playlist entries that only the new application makes: of tracks that no post of their user is named like.
SELECT r.table_name, r.key, r.at
FROM recent AS r
JOIN public.playlist_tracks AS e ON e.id = r.key::uuid
LEFT JOIN public.tracks AS t ON t.id = e.track_id
WHERE r.table_name = 'public.playlist_tracks' AND r.operation IN ('I', 'U')
  AND e.track_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id AND (t.id IS NULL OR p.user_id = t.user_id))
