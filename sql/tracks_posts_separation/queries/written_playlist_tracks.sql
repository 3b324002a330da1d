-- By how much the application's own changes moved the number of rows in playlist_tracks.
SELECT pg_catalog.count(r.id) - pg_catalog.count(*) FILTER (WHERE w.existed)
FROM written AS w
LEFT JOIN public.playlist_tracks AS r ON r.id = w.key::uuid
WHERE w.table_name = 'public.playlist_tracks'
