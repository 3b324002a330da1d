SELECT
    pg_catalog.count(*) AS total_playlist_tracks,
    pg_catalog.count(t.id) AS valid_references,
    pg_catalog.count(t.id) AS rows_done,
    pg_catalog.count(*) AS rows_total
FROM public.playlist_tracks AS e
LEFT JOIN public.tracks AS t ON t.id = e.track_id
