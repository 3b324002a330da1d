-- step: how a range of orders is moved back
CREATE OR REPLACE FUNCTION orders_split.unmove_addresses(
    after_key uuid, upto_key uuid, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key uuid
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH batch AS MATERIALIZED (
        SELECT o.id FROM shop.orders o
         WHERE (after_key IS NULL OR o.id > after_key) AND (upto_key IS NULL OR o.id <= upto_key)
           AND o.shipment_id IS NOT NULL
         ORDER BY o.id LIMIT most_rows FOR NO KEY UPDATE
    ), moved AS (
        UPDATE shop.orders o SET shipment_id = NULL FROM batch b WHERE o.id = b.id RETURNING o.id
    )
    SELECT count(*), CASE WHEN count(*) = most_rows THEN (array_agg(m.id ORDER BY m.id DESC))[1] END
      INTO rows_moved, last_key FROM moved m;
END $$;

-- step: move back
-- data
SELECT orders_split.unmove_addresses(NULL, NULL);

-- step: shipments made by the migration
-- data
DELETE FROM shop.shipments s USING shop.orders o WHERE o.id = s.id;

-- step: functions
DROP FUNCTION IF EXISTS orders_split.move_addresses(uuid, uuid, integer);
DROP FUNCTION IF EXISTS orders_split.unmove_addresses(uuid, uuid, integer);
