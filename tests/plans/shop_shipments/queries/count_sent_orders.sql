SELECT count(*) AS sent_order_count FROM shop.orders WHERE sent_at IS NOT NULL;
