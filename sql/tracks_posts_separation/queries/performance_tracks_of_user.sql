SELECT *
FROM public.tracks
WHERE user_id = %(user_id)s
ORDER BY created_at DESC
