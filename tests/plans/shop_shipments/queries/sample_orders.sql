SELECT id, customer, placed_at, sent_at FROM shop.orders ORDER BY placed_at DESC, id LIMIT 5;
