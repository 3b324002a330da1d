SELECT id, user_id, audio_url, audio_filename, created_at
FROM public.posts
WHERE post_type = 'audio' AND track_id IS NULL
ORDER BY created_at, id
