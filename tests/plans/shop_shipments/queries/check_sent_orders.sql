SELECT
    count(*) FILTER (WHERE shipment_id IS NULL) AS without_shipment,
    count(*) AS rows_examined
FROM shop.orders
WHERE sent_at IS NOT NULL;
