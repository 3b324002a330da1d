-- The guide expects tracks >= audio_posts. With reposts there are fewer tracks than posts, and that is right.
SELECT posts.audio_posts, tracks.tracks, used.tracks_in_posts, posts.audio_posts AS rows_examined
FROM (SELECT pg_catalog.count(*) AS audio_posts FROM public.posts WHERE post_type = 'audio') AS posts
CROSS JOIN (SELECT pg_catalog.count(*) AS tracks FROM public.tracks) AS tracks
CROSS JOIN (
    SELECT pg_catalog.count(*) AS tracks_in_posts
    FROM (SELECT DISTINCT track_id FROM public.posts WHERE track_id IS NOT NULL) AS different
) AS used
