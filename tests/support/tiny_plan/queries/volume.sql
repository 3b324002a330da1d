SELECT count(*) FROM shop.orders WHERE address IS NOT NULL
