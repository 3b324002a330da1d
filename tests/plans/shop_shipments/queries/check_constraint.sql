SELECT
    pg_catalog.bool_and(convalidated) AS is_valid,
    pg_catalog.min(pg_catalog.pg_get_constraintdef(oid)) AS definition,
    count(*) AS rows_examined
FROM pg_catalog.pg_constraint
WHERE conrelid = 'shop.orders'::regclass AND conname = 'sent_orders_have_shipment';
