-- Old application: give an audio post another file.

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

-- pick: the new file
SELECT 'https://cdn.example.org/trial-' || gen_random_uuid() || '.mp3' AS file_url;

-- expect: 1 row
UPDATE public.posts SET audio_url = %(file_url)s, audio_filename = 'trial.mp3' WHERE id = %(post_id)s RETURNING id;

-- effect: the new file
SELECT audio_url = %(file_url)s AS has_the_new_file, audio_filename = 'trial.mp3' AS has_the_new_name
FROM public.posts
WHERE id = %(post_id)s;
