-- Old application: upload an audio post.

-- pick: a user with a profile
SELECT
    u.id::text AS user_id,
    gen_random_uuid()::text AS post_id,
    'https://cdn.example.org/trial-' || gen_random_uuid() || '.mp3' AS file_url
FROM public.profiles AS u
ORDER BY u.id
LIMIT 1
FOR KEY SHARE SKIP LOCKED;

-- expect: 1 row
INSERT INTO public.posts (
    id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size, audio_duration
)
VALUES (
    %(post_id)s, %(user_id)s, 'A new upload', 'audio', %(file_url)s, 'trial.mp3', 'audio/mpeg', 4096, 180
)
RETURNING *;

-- effect: the post is there, with its file
SELECT post_type = 'audio' AS is_an_audio_post, audio_url = %(file_url)s AS has_its_file
FROM public.posts
WHERE id = %(post_id)s;
