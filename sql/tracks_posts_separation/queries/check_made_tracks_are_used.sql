SELECT
    pg_catalog.count(*) FILTER (
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = made.id)
    ) AS unused_tracks,
    pg_catalog.count(*) AS rows_examined
FROM (
    SELECT t.id FROM public.tracks AS t JOIN public.posts AS p ON p.id = t.id
    UNION ALL
    SELECT t.id FROM public.tracks AS t JOIN tracks_posts_separation.deleted_post AS d ON d.post_id = t.id
    UNION ALL
    SELECT t.id FROM public.tracks AS t JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = t.id
) AS made
