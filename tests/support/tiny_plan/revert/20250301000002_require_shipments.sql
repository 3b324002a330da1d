-- step: the rule goes
ALTER TABLE shop.orders DROP CONSTRAINT IF EXISTS orders_with_address_have_shipment;
