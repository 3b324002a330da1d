SELECT conname AS constraint_name, pg_catalog.pg_get_constraintdef(oid) AS definition
FROM pg_catalog.pg_constraint
WHERE conrelid = pg_catalog.to_regclass('public.posts') AND conname = 'posts_track_id_fkey'
  AND NOT (contype = 'f' AND confrelid = pg_catalog.to_regclass('public.tracks') AND confdeltype = 'a')
