SELECT o.id, o.placed_at, s.parcel_code
FROM shop.orders AS o
LEFT JOIN shop.shipments AS s ON s.id = o.shipment_id
WHERE o.customer = %(customer)s
ORDER BY o.placed_at;
