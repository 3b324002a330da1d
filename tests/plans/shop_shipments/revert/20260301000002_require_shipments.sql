-- Undoes migration 3.

-- step: drop the rule
-- lock: shop.orders ACCESS EXCLUSIVE
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS sent_orders_have_shipment;
COMMENT ON COLUMN shop.orders.parcel_code IS NULL;
