SELECT o.id, o.customer, s.carrier, s.parcel_code
FROM shop.orders AS o
LEFT JOIN shop.shipments AS s ON s.id = o.shipment_id
ORDER BY o.placed_at DESC
LIMIT 15;
