SELECT
    pg_catalog.string_agg(DISTINCT carrier, ', ' ORDER BY carrier) AS carriers,
    count(*) AS rows_examined
FROM shop.shipments;
