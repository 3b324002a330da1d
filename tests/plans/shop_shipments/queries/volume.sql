SELECT count(*) AS orders FROM shop.orders WHERE sent_at IS NOT NULL;
