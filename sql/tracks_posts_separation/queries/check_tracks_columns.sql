SELECT
    pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attname)
        AS columns_found,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = pg_catalog.to_regclass('public.tracks')
  AND NOT a.attisdropped
  AND a.attname IN ('file_size', 'mime_type', 'original_file_size', 'compression_ratio', 'compression_applied')
