-- The guide groups by file_url alone and so reports two users who share a file. Two tracks of one user and file are
-- ours to explain only where the migration made both; a user may upload a file twice.
SELECT
    pg_catalog.count(*) FILTER (WHERE made > 1) AS duplicate_tracks,
    pg_catalog.count(*) FILTER (WHERE tracks > 1) AS uploaded_more_than_once,
    coalesce(pg_catalog.sum(tracks), 0)::bigint AS rows_examined
FROM (
    SELECT
        t.user_id,
        t.file_url,
        pg_catalog.count(*) AS tracks,
        pg_catalog.count(*) FILTER (WHERE p.id IS NOT NULL OR o.track_id IS NOT NULL) AS made
    FROM public.tracks AS t
    LEFT JOIN public.posts AS p ON p.id = t.id
    LEFT JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = t.id
    GROUP BY t.user_id, t.file_url
) AS files
