-- The posts that migration 2 updates, with the track that each gets: a track of its user and file that is there already,
-- else the one that is made of the earliest post.
SELECT
    p.id,
    coalesce(library.id, pg_catalog.first_value(p.id) OVER (
        PARTITION BY p.user_id, pg_catalog.hashtextextended(p.audio_url, 0), p.audio_url COLLATE "C"
        ORDER BY p.created_at, p.id
    )) AS track_id,
    true AS stays
FROM public.posts AS p
JOIN public.profiles AS u ON u.id = p.user_id
LEFT JOIN (
    SELECT DISTINCT ON (t.user_id, t.file_url) t.user_id, t.file_url, t.id
    FROM public.tracks AS t
    ORDER BY t.user_id, t.file_url, t.created_at, t.id
) AS library ON library.user_id = p.user_id AND library.file_url = p.audio_url
WHERE p.post_type = 'audio' AND pg_catalog.btrim(p.audio_url, E' \t\r\n') <> '';
