SELECT t.id, t.user_id AS track_user_id, p.user_id AS post_user_id, t.title
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id
ORDER BY t.id
