-- Posts of the new application have no audio_url: their track is their file, there is nothing to compare.
SELECT
    (SELECT pg_catalog.count(*) FROM (
        SELECT DISTINCT track_id FROM public.posts
        WHERE post_type = 'audio' AND track_id IS NOT NULL AND pg_catalog.btrim(audio_url, E' \t\r\n') <> ''
    ) AS tracks) AS tracks_of_audio_posts,
    (SELECT pg_catalog.count(*) FROM (
        SELECT DISTINCT user_id, audio_url FROM public.posts
        WHERE post_type = 'audio' AND pg_catalog.btrim(audio_url, E' \t\r\n') <> ''
    ) AS files) AS files_of_audio_posts,
    (SELECT pg_catalog.count(*) FROM public.posts
     WHERE post_type = 'audio' AND pg_catalog.btrim(audio_url, E' \t\r\n') <> '') AS rows_examined
