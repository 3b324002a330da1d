SELECT
    pl.id AS playlist_id,
    pl.name,
    pg_catalog.count(e.track_id) AS track_count,
    pg_catalog.count(t.id) AS valid_tracks
FROM public.playlists AS pl
LEFT JOIN public.playlist_tracks AS e ON e.playlist_id = pl.id
LEFT JOIN public.tracks AS t ON t.id = e.track_id
GROUP BY pl.id, pl.name
HAVING pg_catalog.count(e.track_id) <> pg_catalog.count(t.id)
ORDER BY pl.id
