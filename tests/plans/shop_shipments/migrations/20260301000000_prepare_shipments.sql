-- Orders and shipments, migration 1: a table for what was sent, and a column that points at it.

-- step: table of shipments
CREATE TABLE IF NOT EXISTS shop.shipments (
    id bigint PRIMARY KEY,
    carrier text NOT NULL,
    parcel_code text NOT NULL,
    sent_at timestamptz NOT NULL,
    insured boolean NOT NULL
);

-- step: column of orders
-- lock: shop.orders ACCESS EXCLUSIVE
ALTER TABLE shop.orders ADD COLUMN IF NOT EXISTS shipment_id bigint;

-- step: index of the key
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_shipment_id ON shop.orders (shipment_id);

-- step: key to shipments
-- lock: shop.orders SHARE ROW EXCLUSIVE
-- lock: shop.shipments SHARE ROW EXCLUSIVE
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS orders_shipment_id_fkey;
ALTER TABLE shop.orders
ADD CONSTRAINT orders_shipment_id_fkey FOREIGN KEY (shipment_id) REFERENCES shop.shipments (id) NOT VALID;

-- step: validate the key
ALTER TABLE shop.orders VALIDATE CONSTRAINT orders_shipment_id_fkey;
