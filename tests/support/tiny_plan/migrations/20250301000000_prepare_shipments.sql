-- Orders get shipments of their own.

-- step: helper schema, table and column
CREATE SCHEMA IF NOT EXISTS orders_split;
CREATE TABLE IF NOT EXISTS shop.shipments (
    id uuid PRIMARY KEY,
    address text NOT NULL,
    insured boolean NOT NULL
);
ALTER TABLE shop.orders ADD COLUMN IF NOT EXISTS shipment_id uuid;

-- step: index on the new column
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_shipment_id ON shop.orders (shipment_id) WHERE shipment_id IS NOT NULL;

-- step: key to shipments
-- lock: shop.orders SHARE ROW EXCLUSIVE
-- lock: shop.shipments SHARE ROW EXCLUSIVE
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS orders_shipment_id_fkey;
ALTER TABLE shop.orders
    ADD CONSTRAINT orders_shipment_id_fkey FOREIGN KEY (shipment_id) REFERENCES shop.shipments (id) NOT VALID;
