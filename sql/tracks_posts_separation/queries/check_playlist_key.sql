-- The key as migration 3 made it: options_kept says whether all it had when it pointed at posts is the same but its target.
SELECT
    max(c.conname::text) AS constraint_name,
    max(pg_catalog.format('%s.%s', n.nspname, r.relname)) AS foreign_table_name,
    max(f.attname::text) AS foreign_column_name,
    max(CASE c.confdeltype
        WHEN 'a' THEN 'NO ACTION' WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
        ELSE 'SET DEFAULT'
    END) AS on_delete,
    max(pg_catalog.pg_get_constraintdef(c.oid)) AS definition,
    max('of the key before: ' || old.definition) AS definition_before,
    pg_catalog.bool_and(
        pg_catalog.replace(old.definition, ' REFERENCES public.posts(id)', ' REFERENCES public.tracks(id)')
            = tracks_posts_separation.constraint_definition(c.conrelid, c.conname)
        AND old.remark IS NOT DISTINCT FROM pg_catalog.obj_description(c.oid, 'pg_constraint')
    ) AS options_kept,
    pg_catalog.bool_and(c.convalidated) AS is_validated,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
JOIN pg_catalog.pg_attribute AS f ON f.attrelid = c.confrelid AND c.confkey = ARRAY[f.attnum]
JOIN pg_catalog.pg_class AS r ON r.oid = c.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
LEFT JOIN tracks_posts_separation.replaced AS old ON old.kind = 'key' AND old.name = c.conname
WHERE c.conrelid = pg_catalog.to_regclass('public.playlist_tracks') AND c.contype = 'f' AND a.attname = 'track_id'
