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
CROSS JOIN (
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = pg_catalog.to_regclass('public.playlist_tracks') AND contype = 'f'
          AND confrelid = pg_catalog.to_regclass('public.tracks')
    ) AS at_tracks
) AS now
-- A post and a track can have the same id: then the key says which of them an entry names.
CROSS JOIN LATERAL (SELECT t.id IS NOT NULL AND (now.at_tracks OR p.id IS NULL) AS is_track) AS named
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN named.is_track THEN t.user_id ELSE p.user_id END AS user_id,
        CASE WHEN named.is_track THEN t.file_url COLLATE "C" ELSE p.audio_url COLLATE "C" END AS url
) AS file
WHERE file.url IS NOT NULL
ORDER BY e.playlist_id, file.user_id, file.url, e.position, e.added_at, e.id
