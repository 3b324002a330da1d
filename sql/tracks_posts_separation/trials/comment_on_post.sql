-- Old application: comment on a post.

-- pick: a post
SELECT p.id::text AS post_id, p.user_id::text AS user_id, gen_random_uuid()::text AS comment_id
FROM public.posts AS p
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
ORDER BY p.id
LIMIT 1
FOR KEY SHARE OF p SKIP LOCKED;

-- expect: 1 row
INSERT INTO public.comments (id, post_id, user_id, content)
VALUES (%(comment_id)s, %(post_id)s, %(user_id)s, 'A comment')
RETURNING id;

-- effect: the comment is there
SELECT content = 'A comment' AS comment_is_there FROM public.comments WHERE id = %(comment_id)s;
