-- Orders and shipments, migration 3: a sent order must have its shipment.

-- step: the rule, for new rows
-- lock: shop.orders ACCESS EXCLUSIVE
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS sent_orders_have_shipment;
ALTER TABLE shop.orders
ADD CONSTRAINT sent_orders_have_shipment CHECK (sent_at IS NULL OR shipment_id IS NOT NULL) NOT VALID;
COMMENT ON COLUMN shop.orders.parcel_code IS 'Deprecated: see shop.shipments.parcel_code.';

-- step: the rule, for the rows that are there
ALTER TABLE shop.orders VALIDATE CONSTRAINT sent_orders_have_shipment;
