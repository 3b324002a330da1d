SELECT id, customer, sent_at FROM shop.orders WHERE sent_at IS NOT NULL AND shipment_id IS NULL ORDER BY id;
