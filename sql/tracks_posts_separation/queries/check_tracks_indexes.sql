SELECT
    pg_catalog.string_agg(c.relname::text, ', ' ORDER BY c.relname) FILTER (WHERE i.indisvalid AND i.indisready)
        AS valid_indexes,
    pg_catalog.string_agg(pg_catalog.pg_get_indexdef(i.indexrelid), '; ' ORDER BY c.relname) AS definitions,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass('public.tracks')
  AND c.relname IN ('idx_tracks_user_id', 'idx_tracks_created_at', 'idx_tracks_is_public')
