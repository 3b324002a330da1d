SELECT
    max(a.attname::text) AS column_name,
    max(pg_catalog.format_type(a.atttypid, a.atttypmod)) AS data_type,
    max(CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END) AS is_nullable,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = pg_catalog.to_regclass('public.posts') AND a.attname = 'track_id' AND NOT a.attisdropped
