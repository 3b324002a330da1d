SELECT
    pg_catalog.count(DISTINCT pl.id) AS total_playlists,
    pg_catalog.count(e.id) AS total_playlist_tracks,
    pg_catalog.count(t.id) AS valid_track_references,
    pg_catalog.count(e.id) AS rows_examined
FROM public.playlists AS pl
LEFT JOIN public.playlist_tracks AS e ON e.playlist_id = pl.id
LEFT JOIN public.tracks AS t ON t.id = e.track_id
