-- Rows that break a constraint which migration 4 adds or validates, or a foreign key behind which rows were loaded with keys
-- switched off. table_name and fix say what the repair does. Columns that migration 1 adds are read so that the query runs before
-- it, too: where the row has no such column, the name means that of absent.
WITH post AS (
    SELECT
        p.id, p.audio_url, p.user_id, p.post_type,
        (SELECT (SELECT track_id FROM (SELECT p.*) AS whole) FROM (SELECT NULL::uuid AS track_id) AS absent) AS track_id
    FROM public.posts AS p
    WHERE EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.tracks'::pg_catalog.regclass
    )
),
broken AS (
    SELECT
        p.id, 'public.posts' AS table_name, 'posts_track_id_fkey' AS name,
        'a track was removed while keys were switched off' AS cause, p.audio_url, p.user_id
    FROM post AS p
    WHERE p.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = p.track_id)
    UNION ALL
    SELECT
        p.id, 'public.posts', 'audio_posts_must_have_track', 'written while the triggers did not fire',
        p.audio_url, p.user_id
    FROM post AS p
    WHERE p.post_type = 'audio' AND p.track_id IS NULL
)
SELECT
    b.id::text AS key, b.name AS reason, b.table_name, b.cause,
    CASE
        WHEN pg_catalog.btrim(coalesce(b.audio_url COLLATE "C", ''), E' \t\r\n') <> ''
            AND EXISTS (SELECT FROM public.profiles AS u WHERE u.id = b.user_id) THEN 'its track is made'
        WHEN b.name = 'posts_track_id_fkey' THEN 'none: its file is unknown. Restore the track: restore_archived.yml'
        ELSE 'none: see issue=orphaned_posts'
    END AS fix
FROM broken AS b
UNION ALL
SELECT
    t.id::text, 'tracks_user_id_fkey', 'public.tracks', 'the user was deleted while keys were switched off', 'archived'
FROM public.tracks AS t
WHERE NOT EXISTS (SELECT FROM public.profiles AS u WHERE u.id = t.user_id)
UNION ALL
SELECT
    t.id::text, 'tracks_file_size_check', 'public.tracks', 'a size that is unknown was written as 0', 'set to NULL'
FROM public.tracks AS t
WHERE (SELECT (SELECT file_size FROM (SELECT t.*) AS whole) FROM (SELECT NULL::bigint AS file_size) AS absent) <= 0
UNION ALL
SELECT
    c.id::text, 'comments_post_id_fkey', 'public.comments', 'the post was deleted while keys were switched off', 'archived'
FROM public.comments AS c
WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = c.post_id)
UNION ALL
SELECT
    e.id::text, 'playlist_tracks_playlist_id_fkey', 'public.playlist_tracks',
    'the playlist was deleted while keys were switched off', 'archived'
FROM public.playlist_tracks AS e
WHERE NOT EXISTS (SELECT FROM public.playlists AS l WHERE l.id = e.playlist_id)
ORDER BY 2, 1
