SELECT p.id, p.user_id, p.created_at
FROM public.posts AS p
WHERE p.post_type = 'audio' AND NOT EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
ORDER BY p.created_at, p.id
