-- Playlists that count more entries than entries with a track.
SELECT
    pg_catalog.count(*) FILTER (WHERE track_count <> valid_tracks) AS playlists_with_missing_tracks,
    pg_catalog.count(*) AS rows_examined
FROM (
    SELECT pl.id, pg_catalog.count(e.track_id) AS track_count, pg_catalog.count(t.id) AS valid_tracks
    FROM public.playlists AS pl
    LEFT JOIN public.playlist_tracks AS e ON e.playlist_id = pl.id
    LEFT JOIN public.tracks AS t ON t.id = e.track_id
    GROUP BY pl.id
) AS playlists
