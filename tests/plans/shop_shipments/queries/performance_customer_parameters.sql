SELECT customer FROM shop.orders GROUP BY customer ORDER BY count(*) DESC, customer LIMIT 1;
