SELECT pg_catalog.count(*) AS audio_post_count
FROM public.posts
WHERE post_type = 'audio'
