-- One anti-join per foreign key from and to the tables that were written, whether or not the key is marked valid:
-- under the replica role no key is checked, and "validated" says nothing about what came later.
SELECT
    coalesce(pg_catalog.sum(rows_without_parent), 0)::bigint AS rows_without_parent,
    pg_catalog.string_agg(key || ': ' || rows_without_parent, '; ' ORDER BY key) FILTER (WHERE rows_without_parent > 0)
        AS broken_keys,
    pg_catalog.string_agg(key, '; ' ORDER BY key) FILTER (WHERE rows_without_parent IS NULL) AS unreadable_keys,
    pg_catalog.count(rows_without_parent) AS rows_examined
FROM tracks_posts_separation.foreign_keys()
