-- Old application: delete an audio post.

-- pick: an audio post with few comments and playlist entries
SELECT p.id::text AS post_id, p.user_id::text AS user_id
FROM (
    SELECT id
    FROM public.posts
    WHERE post_type = 'audio' AND btrim(audio_url) <> ''
    ORDER BY id
    LIMIT 40
) AS few
JOIN public.posts AS p ON p.id = few.id
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
  AND (SELECT count(*) FROM (SELECT FROM public.comments AS c WHERE c.post_id = p.id LIMIT 21) AS c) <= 20
  AND (SELECT count(*) FROM (SELECT FROM public.playlist_tracks AS e WHERE e.track_id = p.id LIMIT 21) AS e) <= 20
LIMIT 1
FOR UPDATE OF p SKIP LOCKED;

-- expect: 1 row
DELETE FROM public.posts WHERE id = %(post_id)s RETURNING id;

-- effect: the post and its comments are gone
SELECT
    NOT EXISTS (SELECT FROM public.posts WHERE id = %(post_id)s) AS post_is_gone,
    NOT EXISTS (SELECT FROM public.comments WHERE post_id = %(post_id)s) AS comments_are_gone;
