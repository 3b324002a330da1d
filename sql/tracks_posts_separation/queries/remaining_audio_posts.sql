-- What migrate_audio_posts would still move: the same conditions. Posts that it leaves alone are not listed.
-- OFFSET 0: one scan. Statistics still say that every post is left, and the table was read in the order of an index.
SELECT p.id::text AS key
FROM (
    SELECT id, user_id
    FROM public.posts
    WHERE post_type = 'audio'
      AND track_id IS NULL
      AND (audio_url COLLATE "C" >= '!' OR pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') <> '')
    OFFSET 0
) AS p
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
LIMIT 1000
