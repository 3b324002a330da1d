SELECT wanted.table_name, wanted.column_name
FROM (VALUES ('public.posts', 'user_id')) AS wanted (table_name, column_name)
WHERE NOT EXISTS (
    SELECT
    FROM pg_catalog.pg_constraint AS c
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
    WHERE c.conrelid = pg_catalog.to_regclass(wanted.table_name)
      AND c.contype = 'f'
      AND c.confdeltype = 'c'
      AND a.attname = wanted.column_name
)
