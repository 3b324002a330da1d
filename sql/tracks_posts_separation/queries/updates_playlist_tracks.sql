-- The playlist entries that migration 3 changes: those of posts whose track is not named after them get that track, and of
-- two that become one the lower position stays. Entries of text posts go to the archive.
WITH post AS (
    SELECT
        p.id,
        coalesce(library.id, pg_catalog.first_value(p.id) OVER (
            PARTITION BY p.user_id, pg_catalog.hashtextextended(p.audio_url, 0), p.audio_url COLLATE "C"
            ORDER BY p.created_at, p.id
        )) AS track_id
    FROM public.posts AS p
    JOIN public.profiles AS u ON u.id = p.user_id
    LEFT JOIN (
        SELECT DISTINCT ON (t.user_id, t.file_url) t.user_id, t.file_url, t.id
        FROM public.tracks AS t
        ORDER BY t.user_id, t.file_url, t.created_at, t.id
    ) AS library ON library.user_id = p.user_id AND library.file_url = p.audio_url
    WHERE p.post_type = 'audio' AND pg_catalog.btrim(p.audio_url, E' \t\r\n') <> ''
),
entry AS (
    SELECT
        e.id,
        e.track_id AS old_track_id,
        coalesce(p.track_id, e.track_id) AS track_id,
        p.id IS NOT NULL OR EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id) AS has_track,
        pg_catalog.first_value(e.id) OVER (
            PARTITION BY e.playlist_id, coalesce(p.track_id, e.track_id) ORDER BY e.position, e.added_at, e.id
        ) AS kept
    FROM public.playlist_tracks AS e
    LEFT JOIN post AS p ON p.id = e.track_id
)
SELECT e.id, e.track_id, e.has_track AND e.kept = e.id AS stays
FROM entry AS e
WHERE e.track_id <> e.old_track_id OR NOT (e.has_track AND e.kept = e.id);
