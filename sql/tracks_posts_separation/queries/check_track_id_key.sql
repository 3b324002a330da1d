SELECT
    max(c.conname::text) AS constraint_name,
    max(CASE c.contype WHEN 'f' THEN 'FOREIGN KEY' ELSE c.contype::text END) AS constraint_type,
    max(pg_catalog.pg_get_constraintdef(c.oid)) AS definition,
    pg_catalog.bool_and(c.contype = 'f' AND c.confrelid = pg_catalog.to_regclass('public.tracks')) AS references_tracks,
    max(CASE c.confdeltype WHEN 'a' THEN 'NO ACTION' ELSE c.confdeltype::text END) AS on_delete,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_constraint AS c
WHERE c.conrelid = pg_catalog.to_regclass('public.posts') AND c.conname = 'posts_track_id_fkey'
