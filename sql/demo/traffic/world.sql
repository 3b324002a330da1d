-- What the load generator itself asks, as the superuser: what is there at the start, and why a write found nothing.

-- statement: users
SELECT u.id::text, coalesce(written.posts, 0)
FROM auth.users AS u
JOIN public.profiles AS f ON f.id = u.id
LEFT JOIN (SELECT user_id, count(*) AS posts FROM public.posts GROUP BY user_id) AS written ON written.user_id = u.id
ORDER BY u.id

-- statement: posts
SELECT id::text, user_id::text, post_type, audio_url
FROM public.posts TABLESAMPLE BERNOULLI (%(percent)s) REPEATABLE (%(seed)s)
ORDER BY id
LIMIT 30000

-- statement: shared_files
-- Audio posts whose file another post or a track of their user has too.
SELECT id::text, user_id::text
FROM (
    SELECT id, user_id, is_post, count(*) OVER (PARTITION BY user_id, file) AS times
    FROM (
        SELECT id, user_id, audio_url AS file, true AS is_post FROM public.posts WHERE post_type = 'audio'
        UNION ALL
        SELECT id, user_id, file_url, false
        FROM public.tracks AS t
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = t.id)
    ) AS files
) AS counted
WHERE is_post AND times > 1

-- statement: playlists
SELECT id::text, user_id::text FROM public.playlists ORDER BY md5(id::text || %(seed)s::text) LIMIT 3000

-- statement: entries
SELECT playlist_id::text, track_id::text
FROM public.playlist_tracks
WHERE playlist_id = ANY (%(playlists)s::uuid[])
ORDER BY playlist_id, position, id

-- statement: versions
SELECT version FROM supabase_migrations.schema_migrations ORDER BY version

-- statement: waiting
-- Application sessions that wait for a lock, and for whom.
SELECT
    left(w.query, 4000) AS query, b.application_name, left(b.query, 300) AS blocking_query, b.state,
    extract(epoch FROM clock_timestamp() - b.xact_start)::float8 AS blocking_seconds
FROM pg_stat_activity AS w
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS b ON b.pid = blocker.pid
WHERE w.wait_event_type = 'Lock' AND w.application_name = 'traffic'

-- statement: track_of_post
SELECT track_id::text FROM public.posts WHERE id = %(post)s

-- statement: request_archived
-- An addition that met an entry of the same track: nothing is written, the request is kept.
SELECT EXISTS (
    SELECT
    FROM tracks_posts_separation.archive
    WHERE reason = 'request_met_entry' AND table_name = 'public.playlist_tracks' AND row_data ->> 'id' = %(entry)s
)

-- statement: is_there
SELECT
    EXISTS (SELECT FROM public.posts WHERE id = %(track)s) AS post,
    EXISTS (SELECT FROM public.tracks WHERE id = %(track)s) AS track

-- statement: archived
-- Entries that the migration merged into another one or pointed at another track, by the id they had before.
SELECT EXISTS (
    SELECT
    FROM tracks_posts_separation.archive
    WHERE table_name = 'public.playlist_tracks'
      AND row_data ->> 'playlist_id' = %(playlist)s
      AND row_data ->> 'track_id' = %(track)s
)

-- statement: entries_point_at_tracks
SELECT count(*) > 0
FROM pg_constraint
WHERE contype = 'f' AND conrelid = 'public.playlist_tracks'::regclass AND confrelid = 'public.tracks'::regclass
