SELECT pg_catalog.count(*) AS audio_posts
FROM public.posts
WHERE post_type = 'audio'
