-- What a playlist plays, in which order: one entry per (playlist, user, file), the one with the lower position.
-- The same rows before and after: an entry points at a post first, and at the track of that user and file later.
SELECT DISTINCT ON (e.playlist_id, file.user_id, file.url)
    e.id,
    e.playlist_id,
    e.position,
    e.added_at,
    file.user_id AS file_user_id,
    file.url AS file_url
FROM public.playlist_tracks AS e
LEFT JOIN public.posts AS p ON p.id = e.track_id AND p.post_type = 'audio'
LEFT JOIN public.tracks AS t ON t.id = e.track_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(t.user_id, p.user_id) AS user_id, coalesce(t.file_url COLLATE "C", p.audio_url COLLATE "C") AS url
) AS file
WHERE file.url IS NOT NULL
ORDER BY e.playlist_id, file.user_id, file.url, e.position, e.added_at, e.id
