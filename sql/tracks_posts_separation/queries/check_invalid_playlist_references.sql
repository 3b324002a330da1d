SELECT
    pg_catalog.count(*) FILTER (
        WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id)
    ) AS invalid_references,
    pg_catalog.count(*) AS rows_examined
FROM public.playlist_tracks AS e
