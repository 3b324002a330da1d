SELECT count(*) FILTER (WHERE shipment_id IS NOT NULL) AS rows_done, count(*) AS rows_total
  FROM shop.orders WHERE address IS NOT NULL
