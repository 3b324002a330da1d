SELECT id, customer, sent_at
FROM shop.orders
WHERE sent_at IS NOT NULL AND (carrier IS NULL OR coalesce(pg_catalog.btrim(parcel_code), '') = '')
ORDER BY id;
