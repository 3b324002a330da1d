SELECT id, customer, address FROM shop.orders ORDER BY id LIMIT 5
