SELECT
    pg_catalog.count(*) FILTER (WHERE t.id IS NULL AND e.track_id IS NOT NULL) AS invalid_references,
    pg_catalog.count(*) AS rows_examined
FROM public.playlist_tracks AS e
LEFT JOIN public.tracks AS t ON t.id = e.track_id
