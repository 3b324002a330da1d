SELECT p.id, p.user_id, p.track_id
FROM public.posts AS p
WHERE p.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = p.track_id)
ORDER BY p.created_at, p.id
