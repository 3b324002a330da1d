SELECT t.title
FROM public.tracks AS t
WHERE t.title = 'An edited title' AND EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
