-- Orders without the new column, and their lines.
SELECT 'order' AS kind, id, customer, placed_at::text, sent_at::text, carrier, parcel_code FROM shop.orders
UNION ALL
SELECT 'line', id, order_id::text, article, amount::text, NULL, NULL FROM shop.order_lines
ORDER BY kind, id;
