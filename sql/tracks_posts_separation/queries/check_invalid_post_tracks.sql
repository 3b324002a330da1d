SELECT
    (
        SELECT pg_catalog.count(*)
        FROM public.posts AS p
        WHERE p.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = p.track_id)
    ) AS invalid_post_tracks,
    pg_catalog.count(*) AS rows_examined
FROM public.posts
WHERE track_id IS NOT NULL
