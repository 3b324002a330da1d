-- Rows that point at nothing, one line per foreign key from and to the tables that are written: under the replica role
-- no key is checked, whatever the catalog says about it.
SELECT key, orphans AS rows_without_parent
FROM (
    SELECT
        pg_catalog.format('%s.%s', n.nspname, c.conname) AS key,
        CASE WHEN pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.conrelid, 'SELECT')
            AND pg_catalog.has_schema_privilege(m.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.confrelid, 'SELECT')
        THEN
            -- The one way to run a query whose text comes from the catalog inside a plain SELECT.
            pg_catalog.substring(
                pg_catalog.query_to_xml(
                    pg_catalog.format(
                        'SELECT count(*) AS orphans FROM %I.%I AS child WHERE %s AND NOT EXISTS (SELECT FROM %I.%I AS parent WHERE %s)',
                        n.nspname, r.relname, columns.all_given, m.nspname, f.relname, columns.all_equal
                    ),
                    false, true, ''
                )::text,
                '<orphans>([0-9]+)</orphans>'
            )::bigint
        END AS orphans
    FROM pg_catalog.pg_constraint AS c
    JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
    JOIN pg_catalog.pg_class AS f ON f.oid = c.confrelid
    JOIN pg_catalog.pg_namespace AS m ON m.oid = f.relnamespace
    CROSS JOIN LATERAL (
        SELECT
            pg_catalog.string_agg(pg_catalog.format('child.%I IS NOT NULL', ca.attname), ' AND ' ORDER BY k.place) AS all_given,
            pg_catalog.string_agg(
                pg_catalog.format('parent.%I = child.%I', pa.attname, ca.attname), ' AND ' ORDER BY k.place
            ) AS all_equal
        FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey))
            WITH ORDINALITY AS k (child_number, parent_number, place)
        JOIN pg_catalog.pg_attribute AS ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child_number
        JOIN pg_catalog.pg_attribute AS pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent_number
    ) AS columns
    WHERE c.contype = 'f'
      AND c.conparentid = 0
      AND ARRAY[c.conrelid, c.confrelid] && ARRAY[
          pg_catalog.to_regclass('public.posts')::oid,
          pg_catalog.to_regclass('public.tracks')::oid,
          pg_catalog.to_regclass('public.playlist_tracks')::oid
      ]
) AS keys
WHERE orphans > 0
ORDER BY key
