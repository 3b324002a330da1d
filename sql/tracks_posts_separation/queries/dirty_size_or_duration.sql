SELECT id, user_id, audio_file_size, audio_duration
FROM public.posts
WHERE post_type = 'audio' AND (audio_file_size <= 0 OR audio_duration <= 0)
ORDER BY created_at, id
