SELECT
    pg_catalog.count(*) FILTER (WHERE track_id IS NULL) AS orphaned_posts,
    pg_catalog.count(*) AS rows_examined
FROM public.posts
WHERE post_type = 'audio'
