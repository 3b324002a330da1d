-- step: how a range of orders is moved
CREATE OR REPLACE FUNCTION orders_split.move_addresses(
    after_key uuid, upto_key uuid, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key uuid
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
-- step: inside a function body this is no mark
DECLARE
    insured boolean := current_setting('orders_split.shipments_are_insured')::boolean;
BEGIN
    IF (SELECT count(*) FROM shop.shipments) > (SELECT after_rows FROM shop.brake) THEN
        RAISE EXCEPTION 'the brake is on' USING HINT = 'DELETE FROM shop.brake';
    END IF;
    WITH batch AS MATERIALIZED (
        SELECT o.id, o.address FROM shop.orders o
         WHERE (after_key IS NULL OR o.id > after_key) AND (upto_key IS NULL OR o.id <= upto_key)
           AND o.address IS NOT NULL AND o.shipment_id IS NULL
         ORDER BY o.id LIMIT most_rows FOR NO KEY UPDATE
    ), made AS (
        INSERT INTO shop.shipments (id, address, insured) SELECT b.id, b.address, insured FROM batch b RETURNING id
    ), moved AS (
        UPDATE shop.orders o SET shipment_id = b.id FROM batch b WHERE o.id = b.id RETURNING o.id
    )
    SELECT count(*), CASE WHEN count(*) = most_rows THEN (array_agg(m.id ORDER BY m.id DESC))[1] END
      INTO rows_moved, last_key FROM moved m;
END $$;
REVOKE ALL ON FUNCTION orders_split.move_addresses(uuid, uuid, integer) FROM PUBLIC;

-- step: move the addresses
SELECT orders_split.move_addresses(NULL, NULL);

-- step: statistics
VACUUM (ANALYZE) shop.orders;
