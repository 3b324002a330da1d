SELECT p.*, t.*
FROM public.posts AS p
LEFT JOIN public.tracks AS t ON p.track_id = t.id
WHERE p.post_type = 'audio'
ORDER BY p.created_at DESC
LIMIT 15
