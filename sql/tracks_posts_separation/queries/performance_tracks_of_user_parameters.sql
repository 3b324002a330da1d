-- The user with most tracks.
SELECT user_id
FROM public.tracks
GROUP BY user_id
ORDER BY pg_catalog.count(*) DESC, user_id
LIMIT 1
