SELECT count(*) FILTER (WHERE s.address IS DISTINCT FROM o.address) AS different, count(*) AS rows_examined
  FROM shop.orders o LEFT JOIN shop.shipments s ON s.id = o.shipment_id
 WHERE o.address IS NOT NULL
