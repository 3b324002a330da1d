-- Columns that have one of our names and another type.
SELECT
    wanted.table_name, a.attname AS column_name,
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS data_type, wanted.data_type AS wanted
FROM (VALUES
    ('public.posts', 'track_id', 'uuid'),
    ('public.tracks', 'file_size', 'integer'),
    ('public.tracks', 'mime_type', 'text'),
    ('public.tracks', 'original_file_size', 'integer'),
    ('public.tracks', 'compression_ratio', 'numeric(4,2)'),
    ('public.tracks', 'compression_applied', 'boolean')
) AS wanted (table_name, column_name, data_type)
JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = pg_catalog.to_regclass(wanted.table_name) AND a.attname = wanted.column_name AND NOT a.attisdropped
WHERE pg_catalog.format_type(a.atttypid, a.atttypmod) <> wanted.data_type
ORDER BY 1, 2
