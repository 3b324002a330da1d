SELECT o.id AS order_id, o.parcel_code, s.id AS shipment_id, s.parcel_code AS parcel_code_of_shipment
FROM shop.orders AS o
LEFT JOIN shop.shipments AS s ON s.id = o.shipment_id
WHERE o.sent_at IS NOT NULL
    AND (o.carrier, o.parcel_code, o.sent_at) IS DISTINCT FROM (s.carrier, s.parcel_code, s.sent_at)
ORDER BY o.id;
