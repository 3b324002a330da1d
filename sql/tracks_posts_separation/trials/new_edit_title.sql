-- New application: edit the title of a track.

-- pick: a track
SELECT t.id::text AS track_id, t.user_id::text AS user_id
FROM public.tracks AS t
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = t.user_id)
ORDER BY t.id
LIMIT 1
FOR UPDATE OF t SKIP LOCKED;

-- expect: 1 row
UPDATE public.tracks SET title = 'An edited title', genre = 'trial', updated_at = now() WHERE id = %(track_id)s
RETURNING id;

-- effect: the new title
SELECT title = 'An edited title' AS has_the_new_title FROM public.tracks WHERE id = %(track_id)s;
