-- The key that migration 3 swaps and its revert brings back. A migration 3 that was interrupted after the swap is gone on
-- with: the translating trigger came with the new key.
SELECT
    coalesce(k.conname::text, '(none)') AS constraint_name,
    coalesce(pg_catalog.pg_get_constraintdef(k.oid), 'no key from public.playlist_tracks (track_id)') AS definition
FROM (SELECT) AS one
LEFT JOIN (
    SELECT c.oid, c.conname
    FROM pg_catalog.pg_constraint AS c
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
    WHERE c.conrelid = pg_catalog.to_regclass('public.playlist_tracks') AND c.contype = 'f' AND a.attname = 'track_id'
) AS k ON true
WHERE k.oid IS NULL
   OR k.conname <> 'playlist_tracks_track_id_fkey'
   OR pg_catalog.pg_get_constraintdef(k.oid) ~ 'NOT ENFORCED'
   OR NOT (
       pg_catalog.pg_get_constraintdef(k.oid) ~ 'REFERENCES (public\.)?posts\(id\)'
       OR pg_catalog.pg_get_constraintdef(k.oid) ~ 'REFERENCES (public\.)?tracks\(id\)' AND EXISTS (
           SELECT
           FROM pg_catalog.pg_trigger AS t
           WHERE t.tgrelid = pg_catalog.to_regclass('public.playlist_tracks')
             AND t.tgname = 'zz_tracks_posts_separation_translate'
       )
   )
