SELECT o.id, s.address FROM shop.orders o JOIN shop.shipments s ON s.id = o.shipment_id ORDER BY o.id LIMIT 15
