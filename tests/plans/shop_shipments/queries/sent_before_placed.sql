SELECT id, placed_at, sent_at FROM shop.orders WHERE sent_at < placed_at ORDER BY id;
