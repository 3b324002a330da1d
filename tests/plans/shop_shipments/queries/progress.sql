SELECT
    count(*) FILTER (WHERE shipment_id IS NOT NULL) AS rows_done,
    count(*) AS rows_total
FROM shop.orders
WHERE sent_at IS NOT NULL;
