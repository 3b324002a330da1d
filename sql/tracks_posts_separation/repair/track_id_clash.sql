-- Tracks under the id of a post, while migration 1 is not applied: from then on that is how a made track is known.
SELECT t.id::text AS key, 'has the id of a post' AS reason, t.user_id::text AS user_id, t.title, t.file_url
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger
    WHERE tgrelid = 'public.posts'::pg_catalog.regclass AND tgname LIKE '%tracks\_posts\_separation%'
)
ORDER BY t.id
