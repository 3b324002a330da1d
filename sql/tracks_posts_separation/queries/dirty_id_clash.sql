-- Tracks under the id of a post of their own user: a migrated track would look like that. Under the id of another user's post a
-- track is no migrated one, and the post's track gets another id: who inserts such a row stops nobody.
SELECT t.id, t.user_id AS track_user_id, p.user_id AS post_user_id, t.title
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id AND p.user_id = t.user_id
ORDER BY t.id
