-- step: key and column
-- lock: shop.orders ACCESS EXCLUSIVE
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS orders_shipment_id_fkey;
ALTER TABLE shop.orders DROP COLUMN IF EXISTS shipment_id;

-- step: table and helper schema
DROP TABLE IF EXISTS shop.shipments;
DROP SCHEMA IF EXISTS orders_split;
