SELECT
    count(*) FILTER (
        WHERE (o.carrier, o.parcel_code, o.sent_at) IS DISTINCT FROM (s.carrier, s.parcel_code, s.sent_at)
    ) AS different,
    (SELECT count(*) FROM shop.shipments) AS shipments,
    count(*) AS sent_orders,
    count(*) AS rows_examined
FROM shop.orders AS o
LEFT JOIN shop.shipments AS s ON s.id = o.shipment_id
WHERE o.sent_at IS NOT NULL;
