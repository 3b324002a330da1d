-- step: the rule
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS orders_with_address_have_shipment;
ALTER TABLE shop.orders
    ADD CONSTRAINT orders_with_address_have_shipment CHECK (address IS NULL OR shipment_id IS NOT NULL) NOT VALID;

-- step: validate the rule
ALTER TABLE shop.orders VALIDATE CONSTRAINT orders_with_address_have_shipment;

-- step: validate the key
ALTER TABLE shop.orders VALIDATE CONSTRAINT orders_shipment_id_fkey;
