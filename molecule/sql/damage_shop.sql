-- After the migration, delete, change and add rows in every protected table.
DELETE FROM shop.orders WHERE id BETWEEN 10 AND 30;
UPDATE shop.orders SET customer = 'nobody' WHERE id BETWEEN 100 AND 120;
INSERT INTO shop.orders (id, customer, placed_at) VALUES (9001, 'somebody new', now());
UPDATE shop.order_lines SET amount = amount + 1 WHERE id % 50 = 0;
