SELECT id, user_id, audio_url, audio_filename, created_at
FROM public.posts
WHERE post_type = 'audio'
  AND (audio_url IS NULL OR audio_url COLLATE "C" < '!' AND pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') = '')
ORDER BY created_at, id
