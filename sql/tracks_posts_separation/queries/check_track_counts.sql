-- The guide expects tracks >= audio_posts. With reposts there are fewer tracks than posts, and that is right.
SELECT
    (SELECT pg_catalog.count(*) FROM public.posts WHERE post_type = 'audio') AS audio_posts,
    (SELECT pg_catalog.count(*) FROM public.tracks) AS tracks,
    (SELECT pg_catalog.count(*) FROM (SELECT DISTINCT track_id FROM public.posts WHERE track_id IS NOT NULL) AS used)
        AS tracks_in_posts,
    (SELECT pg_catalog.count(*) FROM public.posts WHERE post_type = 'audio') AS rows_examined
