SELECT
    max(c.conname::text) AS constraint_name,
    max(pg_catalog.format('%s.%s', n.nspname, r.relname)) AS foreign_table_name,
    max(f.attname::text) AS foreign_column_name,
    max(CASE c.confdeltype WHEN 'c' THEN 'CASCADE' ELSE c.confdeltype::text END) AS on_delete,
    pg_catalog.bool_and(c.convalidated) AS is_validated,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
JOIN pg_catalog.pg_attribute AS f ON f.attrelid = c.confrelid AND c.confkey = ARRAY[f.attnum]
JOIN pg_catalog.pg_class AS r ON r.oid = c.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
WHERE c.conrelid = pg_catalog.to_regclass('public.playlist_tracks') AND c.contype = 'f' AND a.attname = 'track_id'
