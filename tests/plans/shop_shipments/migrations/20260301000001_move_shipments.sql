-- Orders and shipments, migration 2: a shipment for each order that was sent, under the order's id.

-- step: functions that move a range of orders there and back
CREATE SCHEMA IF NOT EXISTS shop_shipments;

CREATE OR REPLACE FUNCTION shop_shipments.move_shipments(
    after_key bigint, upto_key bigint, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key bigint
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_insured boolean := pg_catalog.current_setting('shop_shipments.moved_shipments_are_insured')::boolean;
    whole_table_limit bigint := coalesce(
        nullif(pg_catalog.current_setting('shop_shipments.whole_table_limit_rows', true), '')::bigint, 100000
    );
BEGIN
    IF after_key IS NULL AND upto_key IS NULL AND most_rows IS NULL AND (SELECT count(*) FROM shop.orders) > whole_table_limit THEN
        RAISE EXCEPTION 'more than % orders in one call', whole_table_limit
            USING HINT = 'The runbook walks ranges. To do it in one call: SET shop_shipments.whole_table_limit_rows.';
    END IF;
    WITH sent AS MATERIALIZED (
        SELECT o.id, o.carrier, o.parcel_code, o.sent_at
        FROM shop.orders AS o
        WHERE (after_key IS NULL OR o.id > after_key)
            AND (upto_key IS NULL OR o.id <= upto_key)
            AND o.sent_at IS NOT NULL
            AND o.shipment_id IS NULL
        ORDER BY o.id
        LIMIT most_rows
        FOR NO KEY UPDATE
    ), made AS (
        INSERT INTO shop.shipments (id, carrier, parcel_code, sent_at, insured)
        SELECT s.id, s.carrier, s.parcel_code, s.sent_at, is_insured
        FROM sent AS s
        RETURNING id
    ), moved AS (
        UPDATE shop.orders AS o
        SET shipment_id = made.id
        FROM made
        WHERE o.id = made.id
        RETURNING o.id
    )
    SELECT count(*), CASE WHEN count(*) = most_rows THEN max(m.id) END
    INTO rows_moved, last_key
    FROM moved AS m;
END
$$;

CREATE OR REPLACE FUNCTION shop_shipments.unmove_shipments(
    after_key bigint, upto_key bigint, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key bigint
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH sent AS MATERIALIZED (
        SELECT o.id
        FROM shop.orders AS o
        WHERE (after_key IS NULL OR o.id > after_key)
            AND (upto_key IS NULL OR o.id <= upto_key)
            AND o.shipment_id IS NOT NULL
        ORDER BY o.id
        LIMIT most_rows
        FOR NO KEY UPDATE
    ), moved AS (
        UPDATE shop.orders AS o
        SET shipment_id = NULL
        FROM sent
        WHERE o.id = sent.id
        RETURNING o.id
    )
    SELECT count(*), CASE WHEN count(*) = most_rows THEN max(m.id) END
    INTO rows_moved, last_key
    FROM moved AS m;
END
$$;

REVOKE ALL ON FUNCTION shop_shipments.move_shipments(bigint, bigint, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION shop_shipments.unmove_shipments(bigint, bigint, integer) FROM PUBLIC;

-- step: shipments of the orders that were sent
SELECT shop_shipments.move_shipments(NULL, NULL);

-- step: statistics of what was filled
VACUUM (ANALYZE) shop.orders, shop.shipments;
