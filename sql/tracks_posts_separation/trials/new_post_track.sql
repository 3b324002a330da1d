-- New application: upload a track and post it.

-- pick: a user with a profile
SELECT
    u.id::text AS user_id,
    gen_random_uuid()::text AS track_id,
    gen_random_uuid()::text AS post_id,
    'https://cdn.example.org/trial-' || gen_random_uuid() || '.mp3' AS file_url
FROM public.profiles AS u
ORDER BY u.id
LIMIT 1
FOR KEY SHARE SKIP LOCKED;

-- expect: 1 row
INSERT INTO public.tracks (id, user_id, title, file_url, duration, file_size, mime_type, is_public)
VALUES (%(track_id)s, %(user_id)s, 'A new track', %(file_url)s, 180, 4096, 'audio/mpeg', true)
RETURNING id;

-- expect: 1 row
INSERT INTO public.posts (id, user_id, content, post_type, track_id)
VALUES (%(post_id)s, %(user_id)s, 'My new track', 'audio', %(track_id)s)
RETURNING id, track_id;

-- effect: the post plays the track
SELECT p.track_id = %(track_id)s AS plays_the_track, t.file_url = %(file_url)s AS has_its_file
FROM public.posts AS p
JOIN public.tracks AS t ON t.id = p.track_id
WHERE p.id = %(post_id)s;
