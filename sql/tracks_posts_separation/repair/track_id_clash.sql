-- Tracks under the id of a post: all of them while migration 1 is not applied, and from then on those of another user than the
-- post's. Nothing is lost with them (the post's track gets another id), but an entry by that id is meant for one of the two.
SELECT
    t.id::text AS key,
    CASE WHEN t.user_id = p.user_id THEN 'has the id of a post' ELSE 'has the id of another user''s post' END AS reason,
    t.user_id::text AS user_id, t.title, t.file_url
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id
WHERE t.user_id <> p.user_id
   OR NOT EXISTS (
       SELECT FROM pg_catalog.pg_trigger
       WHERE tgrelid = 'public.posts'::pg_catalog.regclass AND tgname LIKE '%tracks\_posts\_separation%'
   )
ORDER BY t.id
