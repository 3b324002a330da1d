-- Undoes migration 1.

-- step: drop key, index, column and table
-- lock: shop.orders ACCESS EXCLUSIVE
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS orders_shipment_id_fkey;
DROP INDEX IF EXISTS shop.orders_shipment_id;
ALTER TABLE shop.orders DROP COLUMN IF EXISTS shipment_id;
DROP TABLE IF EXISTS shop.shipments;
