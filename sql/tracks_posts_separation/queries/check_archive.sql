SELECT
    coalesce(pg_catalog.string_agg(reason || ': ' || rows, ', ' ORDER BY reason), 'nothing') AS archived,
    coalesce(pg_catalog.sum(rows), 0)::bigint AS rows_examined
FROM (
    SELECT reason, pg_catalog.count(*) AS rows FROM tracks_posts_separation.archive GROUP BY reason
) AS reasons
