-- By how much the application's own changes moved the number of audio posts.
SELECT
    pg_catalog.count(*) FILTER (WHERE p.post_type = 'audio')
        - pg_catalog.count(*) FILTER (WHERE w.old_values ->> 'post_type' = 'audio')
FROM written AS w
LEFT JOIN public.posts AS p ON p.id = w.key::uuid
WHERE w.table_name = 'public.posts'
