-- Valid objects that the new application requires.
SELECT conrelid::regclass::text, conname::text, convalidated
FROM pg_catalog.pg_constraint
WHERE conname IN ('posts_track_id_fkey', 'playlist_tracks_track_id_fkey', 'audio_posts_must_have_track')
UNION ALL
SELECT indrelid::regclass::text, class.relname::text, indisvalid
FROM pg_catalog.pg_index
INNER JOIN pg_catalog.pg_class AS class ON class.oid = indexrelid
WHERE class.relname IN ('idx_posts_track_id', 'idx_tracks_user_id', 'idx_tracks_created_at', 'idx_tracks_is_public')
ORDER BY 1, 2;
