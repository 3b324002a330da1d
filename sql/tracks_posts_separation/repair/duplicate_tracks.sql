-- Tracks of a user for a file that an older track of the same user has. `kept` is the oldest.
SELECT t.id::text AS key, 'an older track has this file' AS reason, t.kept::text AS kept, t.user_id::text AS user_id, t.title, t.file_url
FROM (
    SELECT id, user_id, title, file_url, created_at, pg_catalog.first_value(id) OVER (
        PARTITION BY user_id, file_url COLLATE "C" ORDER BY created_at, id
    ) AS kept
    FROM public.tracks
) AS t
WHERE t.kept <> t.id
ORDER BY t.created_at, t.id
