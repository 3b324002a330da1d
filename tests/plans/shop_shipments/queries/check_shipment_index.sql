SELECT
    pg_catalog.min(class.relname::text) AS index_name,
    pg_catalog.bool_and(indisvalid) AS is_valid,
    count(*) AS rows_examined
FROM pg_catalog.pg_index
INNER JOIN pg_catalog.pg_class AS class ON class.oid = indexrelid
WHERE indexrelid = pg_catalog.to_regclass('shop.orders_shipment_id');
