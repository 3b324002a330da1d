SELECT user_id, audio_url, pg_catalog.count(*) AS posts
FROM public.posts
WHERE post_type = 'audio'
GROUP BY user_id, audio_url
HAVING pg_catalog.count(*) > 1
ORDER BY posts DESC, user_id, audio_url
