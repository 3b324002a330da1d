-- The guide groups by file_url alone and so reports two users who share a file. Two tracks of one user and file are
-- ours to explain only where the migration made both; a user may upload a file twice. Files whose hash is met once have
-- one track; the others are few, and compared in full.
WITH several AS MATERIALIZED (
    SELECT hash
    FROM (
        SELECT pg_catalog.hashtextextended(file_url COLLATE "C", pg_catalog.uuid_hash_extended(user_id, 0)) AS hash
        FROM public.tracks
        ORDER BY 1
    ) AS sorted
    GROUP BY hash
    HAVING pg_catalog.count(*) > 1
)
SELECT
    pg_catalog.count(*) FILTER (WHERE made > 1) AS duplicate_tracks,
    pg_catalog.count(*) FILTER (WHERE tracks > 1) AS uploaded_more_than_once,
    (SELECT pg_catalog.count(*) FROM public.tracks) AS rows_examined
FROM (
    SELECT
        pg_catalog.count(*) AS tracks,
        pg_catalog.count(*) FILTER (
            WHERE (
                EXISTS (SELECT FROM public.posts AS p WHERE p.id = t.id AND p.user_id = t.user_id)
                OR EXISTS (
                    SELECT FROM tracks_posts_separation.track_under_other_id AS o
                    WHERE o.track_id = t.id AND o.user_id = t.user_id
                )
            ) AND NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id)
        ) AS made
    FROM public.tracks AS t
    WHERE pg_catalog.hashtextextended(t.file_url COLLATE "C", pg_catalog.uuid_hash_extended(t.user_id, 0))
        IN (SELECT hash FROM several)
    GROUP BY t.user_id, t.file_url COLLATE "C"
) AS files
