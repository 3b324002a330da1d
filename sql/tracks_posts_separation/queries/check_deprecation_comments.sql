SELECT
    pg_catalog.count(*) FILTER (
        WHERE coalesce(pg_catalog.col_description(a.attrelid, a.attnum), '') NOT ILIKE '%deprecated%'
    ) AS columns_without_comment,
    pg_catalog.string_agg(
        a.attname || ': ' || coalesce(pg_catalog.col_description(a.attrelid, a.attnum), '(none)'), '; ' ORDER BY a.attnum
    ) AS comments,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = pg_catalog.to_regclass('public.posts') AND a.attname LIKE 'audio\_%' AND NOT a.attisdropped
