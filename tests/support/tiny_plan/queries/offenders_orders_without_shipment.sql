SELECT id, customer FROM shop.orders WHERE address IS NOT NULL AND shipment_id IS NULL
