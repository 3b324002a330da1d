SELECT count(*) AS order_count FROM shop.orders;
