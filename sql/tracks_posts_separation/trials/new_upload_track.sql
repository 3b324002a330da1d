-- New application: upload a track.

-- pick: a user with a profile
SELECT
    u.id::text AS user_id,
    gen_random_uuid()::text AS track_id,
    'https://cdn.example.org/trial-' || gen_random_uuid() || '.mp3' AS file_url
FROM public.profiles AS u
ORDER BY u.id
LIMIT 1
FOR KEY SHARE SKIP LOCKED;

-- expect: 1 row
INSERT INTO public.tracks (id, user_id, title, file_url, duration, file_size, mime_type, is_public)
VALUES (%(track_id)s, %(user_id)s, 'A new track', %(file_url)s, 180, 4096, 'audio/mpeg', true)
RETURNING id;

-- effect: the track is there, with its file
SELECT file_url = %(file_url)s AS has_its_file FROM public.tracks WHERE id = %(track_id)s;
