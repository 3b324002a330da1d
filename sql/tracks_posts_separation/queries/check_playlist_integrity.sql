SELECT
    (SELECT pg_catalog.count(*) FROM public.playlists) AS total_playlists,
    pg_catalog.count(e.track_id) AS total_playlist_tracks,
    pg_catalog.count(t.id) AS valid_track_references,
    pg_catalog.count(*) AS rows_examined
FROM public.playlist_tracks AS e
LEFT JOIN public.tracks AS t ON t.id = e.track_id
