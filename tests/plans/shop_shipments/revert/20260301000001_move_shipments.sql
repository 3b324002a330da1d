-- Undoes migration 2.

-- step: orders lose their shipments
-- data
SELECT shop_shipments.unmove_shipments(NULL, NULL);

-- step: remove the shipments
-- data
DELETE FROM shop.shipments;

-- step: drop the functions
DROP SCHEMA IF EXISTS shop_shipments CASCADE;
