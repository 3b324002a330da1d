-- step: how a range of orders is moved back
CREATE OR REPLACE FUNCTION orders_split.unmove_addresses(after_key uuid, upto_key uuid) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moved bigint;
BEGIN
    UPDATE shop.orders o SET shipment_id = NULL
     WHERE (after_key IS NULL OR o.id > after_key) AND (upto_key IS NULL OR o.id <= upto_key)
       AND o.shipment_id IS NOT NULL;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END $$;

-- step: move back
-- data
SELECT orders_split.unmove_addresses(NULL, NULL);

-- step: shipments made by the migration
-- data
DELETE FROM shop.shipments s USING shop.orders o WHERE o.id = s.id;

-- step: functions
DROP FUNCTION IF EXISTS orders_split.move_addresses(uuid, uuid);
DROP FUNCTION IF EXISTS orders_split.unmove_addresses(uuid, uuid);
