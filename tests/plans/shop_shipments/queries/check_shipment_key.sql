SELECT
    pg_catalog.min(conname::text) AS key_name,
    pg_catalog.min(confrelid::regclass::text) AS references_table,
    count(*) AS rows_examined
FROM pg_catalog.pg_constraint
WHERE conrelid = 'shop.orders'::regclass AND contype = 'f';
