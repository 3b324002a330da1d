SELECT
    (SELECT pg_catalog.count(*) FROM public.tracks) AS tracks_created,
    pg_catalog.count(track_id) AS posts_updated,
    pg_catalog.count(*) AS total_audio_posts,
    pg_catalog.count(track_id) AS rows_done,
    pg_catalog.count(*) AS rows_total
FROM public.posts
WHERE post_type = 'audio'
