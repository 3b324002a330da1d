-- Old application: turn an audio post into a text post.

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
UPDATE public.posts
SET post_type = 'text',
    audio_url = NULL,
    audio_filename = NULL,
    audio_mime_type = NULL,
    audio_file_size = NULL,
    audio_duration = NULL
WHERE id = %(post_id)s
RETURNING id;

-- effect: a text post without a file
SELECT post_type = 'text' AS is_a_text_post, audio_url IS NULL AS has_no_file
FROM public.posts
WHERE id = %(post_id)s;
