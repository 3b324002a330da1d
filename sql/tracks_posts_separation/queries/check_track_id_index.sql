SELECT
    max(c.relname::text) AS indexname,
    max(pg_catalog.pg_get_indexdef(i.indexrelid)) AS indexdef,
    pg_catalog.bool_and(i.indisvalid AND i.indisready) AS is_valid,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass('public.posts') AND c.relname = 'idx_posts_track_id'
