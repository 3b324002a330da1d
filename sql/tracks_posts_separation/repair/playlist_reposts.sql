-- Before migration 3: entries of a post whose file an earlier post of the same user brought. `kept` is the entry that stays
-- where the playlist lists the file more than once.
SELECT
    e.id::text AS key,
    CASE WHEN e.kept <> e.id THEN 'the playlist has this file already' ELSE 'points at a repost' END AS reason,
    e.playlist_id::text AS playlist_id, e.position, e.track_id::text AS track_id, e.first_post::text AS meant
FROM (
    SELECT
        e.id, e.playlist_id, e.position, e.track_id, p.first_post,
        pg_catalog.first_value(e.id) OVER (
            PARTITION BY e.playlist_id, p.first_post ORDER BY e.position, e.added_at, e.id
        ) AS kept
    FROM (
        SELECT
            id,
            pg_catalog.first_value(id) OVER (
                PARTITION BY user_id, audio_url COLLATE "C" ORDER BY created_at, id
            ) AS first_post
        FROM public.posts
        WHERE post_type = 'audio' AND pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') <> ''
    ) AS p
    JOIN public.playlist_tracks AS e ON e.track_id = p.id
    WHERE EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.posts'::pg_catalog.regclass
    )
) AS e
WHERE e.kept <> e.id OR e.track_id <> e.first_post
ORDER BY e.playlist_id, e.position, e.id
