SELECT
    (SELECT pg_catalog.count(*) FROM public.posts) + (SELECT pg_catalog.count(*) FROM public.tracks)
    + (SELECT pg_catalog.count(*) FROM public.comments) + (SELECT pg_catalog.count(*) FROM public.playlist_tracks)
