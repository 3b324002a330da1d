-- Posts of the new application have no audio_url: their track is their file, there is nothing to compare.
-- Tracks with the id of their post are all different and need no comparison. The others, those of reposts above all, are
-- told apart, less those that are the track of such a post.
SELECT
    coalesce(pg_catalog.sum(with_own_track), 0)::bigint + (
        SELECT pg_catalog.count(*)
        FROM (
            SELECT DISTINCT track_id
            FROM public.posts
            WHERE track_id <> id AND post_type = 'audio' AND pg_catalog.btrim(audio_url, E' \t\r\n') <> ''
            OFFSET 0
        ) AS other
        WHERE NOT coalesce((
            SELECT named.track_id = named.id AND named.post_type = 'audio'
                AND pg_catalog.btrim(named.audio_url, E' \t\r\n') <> ''
            FROM public.posts AS named
            WHERE named.id = other.track_id
        ), false)
    ) AS tracks_of_audio_posts,
    pg_catalog.count(*) AS files_of_audio_posts,
    coalesce(pg_catalog.sum(posts), 0)::bigint AS rows_examined
FROM (
    SELECT pg_catalog.count(*) AS posts, pg_catalog.count(*) FILTER (WHERE track_id = id) AS with_own_track
    FROM public.posts
    WHERE post_type = 'audio' AND pg_catalog.btrim(audio_url, E' \t\r\n') <> ''
    GROUP BY user_id, audio_url
) AS files
