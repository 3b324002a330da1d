SELECT count(*) FILTER (WHERE convalidated) AS valid, count(*) AS rows_examined
  FROM pg_catalog.pg_constraint
 WHERE conrelid = 'shop.orders'::regclass
   AND conname IN ('orders_with_address_have_shipment', 'orders_shipment_id_fkey')
