-- Only entries of reposts are moved.
SELECT
    every.total_playlist_tracks,
    every.valid_references,
    moved.entries AS rows_done,
    moved.entries + left_over.entries AS rows_total
FROM (
    SELECT pg_catalog.count(*) AS total_playlist_tracks, pg_catalog.count(t.id) AS valid_references
    FROM public.playlist_tracks AS e
    LEFT JOIN public.tracks AS t ON t.id = e.track_id
) AS every
CROSS JOIN (SELECT pg_catalog.count(*) AS entries FROM tracks_posts_separation.entries_of_reposts(false)) AS left_over
CROSS JOIN (
    SELECT pg_catalog.count(*) AS entries
    FROM tracks_posts_separation.archive
    WHERE reason IN ('entry_repointed', 'entry_collapsed')
) AS moved
