SELECT kind, name, definition
FROM (
    SELECT 'constraint not validated' AS kind, c.conname AS name, pg_catalog.pg_get_constraintdef(c.oid) AS definition, c.conrelid
    FROM pg_catalog.pg_constraint AS c
    WHERE NOT c.convalidated
    UNION ALL
    SELECT 'index not valid', r.relname, pg_catalog.pg_get_indexdef(i.indexrelid), i.indrelid
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS r ON r.oid = i.indexrelid
    WHERE NOT (i.indisvalid AND i.indisready)
    UNION ALL
    SELECT 'trigger switched off', t.tgname, pg_catalog.pg_get_triggerdef(t.oid), t.tgrelid
    FROM pg_catalog.pg_trigger AS t
    WHERE t.tgenabled = 'D'
) AS found
WHERE conrelid IN (
    pg_catalog.to_regclass('public.posts'), pg_catalog.to_regclass('public.tracks'),
    pg_catalog.to_regclass('public.playlist_tracks')
)
ORDER BY 1, 2
