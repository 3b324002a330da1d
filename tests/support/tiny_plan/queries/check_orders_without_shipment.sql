SELECT count(*) FILTER (WHERE shipment_id IS NULL) AS orders_without_shipment, count(*) AS rows_examined
  FROM shop.orders WHERE address IS NOT NULL
