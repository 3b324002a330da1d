-- Tracks that were not made from a post: a track made from one carries the id of a post of its user.
SELECT t.*
FROM public.tracks AS t
WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = t.id AND p.user_id = t.user_id)
