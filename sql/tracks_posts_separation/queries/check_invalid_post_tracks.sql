SELECT
    pg_catalog.count(*) FILTER (
        WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = p.track_id)
    ) AS invalid_post_tracks,
    pg_catalog.count(*) AS rows_examined
FROM public.posts AS p
WHERE p.track_id IS NOT NULL
