-- Playlist entries that point at nothing a track can be. Before migration 3 an entry holds the id of a post, from then on
-- that of a track; an id of the other kind says what was meant.
SELECT
    e.id::text AS key,
    CASE
        WHEN target.track IS NOT NULL THEN 'points at a post'
        WHEN target.post IS NOT NULL THEN 'points at a track'
        WHEN p.post_type <> 'audio' THEN 'points at a text post'
        ELSE 'points at nothing'
    END AS reason,
    e.playlist_id::text AS playlist_id, e.position, e.track_id::text AS track_id,
    coalesce(target.track, target.post)::text AS meant
FROM public.playlist_tracks AS e
CROSS JOIN (
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.tracks'::pg_catalog.regclass
    ) AS at_tracks
) AS now
LEFT JOIN public.posts AS p ON p.id = e.track_id
LEFT JOIN public.tracks AS t ON t.id = e.track_id
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN now.at_tracks AND t.id IS NULL THEN (
            -- The column is not there before migration 1: then the name means that of absent.
            SELECT (SELECT track_id FROM (SELECT p.*) AS whole) FROM (SELECT NULL::uuid AS track_id) AS absent
        ) END AS track,
        CASE
            WHEN NOT now.at_tracks AND p.id IS NULL AND t.id IS NOT NULL THEN (
                SELECT same.id
                FROM public.posts AS same
                WHERE same.user_id = t.user_id AND same.audio_url COLLATE "C" = t.file_url COLLATE "C" AND same.post_type = 'audio'
                ORDER BY same.created_at, same.id
                LIMIT 1
            )
        END AS post
) AS target
WHERE e.track_id IS NOT NULL
  AND CASE WHEN now.at_tracks THEN t.id IS NULL ELSE p.id IS NULL OR p.post_type <> 'audio' END
ORDER BY e.playlist_id, e.position, e.id
