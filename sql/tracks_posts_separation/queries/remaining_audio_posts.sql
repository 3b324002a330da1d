-- What migrate_audio_posts would still move: the same conditions. Posts that it leaves alone are not listed.
SELECT p.id::text AS key
FROM public.posts AS p
WHERE p.post_type = 'audio'
  AND p.track_id IS NULL
  AND pg_catalog.btrim(p.audio_url, E' \t\r\n') <> ''
  AND EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
LIMIT 1000
