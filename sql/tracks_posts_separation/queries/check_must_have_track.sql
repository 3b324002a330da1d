SELECT
    max(conname::text) AS constraint_name,
    max(pg_catalog.pg_get_constraintdef(oid)) AS check_clause,
    pg_catalog.bool_and(convalidated) AS is_validated,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_constraint
WHERE conrelid = pg_catalog.to_regclass('public.posts') AND conname = 'audio_posts_must_have_track' AND contype = 'c'
