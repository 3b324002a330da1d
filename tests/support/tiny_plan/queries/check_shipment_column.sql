SELECT max(column_name::text) AS column_name, max(data_type::text) AS data_type, count(*) AS rows_examined
  FROM information_schema.columns
 WHERE table_schema = 'shop' AND table_name = 'orders' AND column_name = 'shipment_id'
