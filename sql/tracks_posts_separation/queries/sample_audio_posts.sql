SELECT id, user_id, audio_url, audio_filename, created_at
FROM public.posts
WHERE post_type = 'audio'
ORDER BY created_at, id
LIMIT 5
