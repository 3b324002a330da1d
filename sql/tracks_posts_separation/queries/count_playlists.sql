SELECT pg_catalog.count(*) AS playlist_count
FROM public.playlists
