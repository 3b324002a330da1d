SELECT pg_catalog.count(*) AS playlist_track_count
FROM public.playlist_tracks
