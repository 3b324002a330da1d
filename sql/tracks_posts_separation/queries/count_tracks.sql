SELECT pg_catalog.count(*) AS existing_track_count
FROM public.tracks
