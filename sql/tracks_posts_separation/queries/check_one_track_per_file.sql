-- Once the compatibility is retired, the application gives posts other tracks as it likes: nothing is compared any more.
-- Posts of the new application have no audio_url: their track is their file, there is nothing to compare.
-- Tracks with the id of their post are all different and need no comparison. The others, those of reposts above all, are
-- told apart, less those that are the track of such a post. Files whose hash is met once have one post; the others are few,
-- and compared in full. The numbers of all posts (is_total) come from the same scan as the hashes.
WITH counted AS MATERIALIZED (
    SELECT
        posts.hash,
        grouping(posts.hash) = 1 AS is_total,
        pg_catalog.count(*) AS posts,
        pg_catalog.count(*) FILTER (WHERE posts.track_id = posts.id) AS with_own_track,
        pg_catalog.array_agg(posts.track_id) FILTER (WHERE posts.track_id <> posts.id) AS other_tracks
    FROM (
        SELECT
            id,
            track_id,
            pg_catalog.hashtextextended(audio_url COLLATE "C", pg_catalog.uuid_hash_extended(user_id, 0)) AS hash
        FROM public.posts
        WHERE (post_type = 'audio') IS TRUE
          AND (audio_url COLLATE "C" >= '!' OR pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') <> '')
    ) AS posts
    GROUP BY GROUPING SETS ((posts.hash), ())
    HAVING grouping(posts.hash) = 1 OR pg_catalog.count(*) > 1
)
SELECT
    CASE WHEN retired.yes THEN every.posts - repeated.posts + repeated.files ELSE every.with_own_track + (
        SELECT pg_catalog.count(*)
        FROM (SELECT DISTINCT track_id FROM pg_catalog.unnest(every.other_tracks) AS u (track_id) OFFSET 0) AS other
        WHERE NOT coalesce((
            SELECT named.track_id = named.id AND named.post_type = 'audio'
                AND pg_catalog.btrim(named.audio_url COLLATE "C", E' \t\r\n') <> ''
            FROM public.posts AS named
            WHERE named.id = other.track_id
        ), false)
    ) END AS tracks_of_audio_posts,
    every.posts - repeated.posts + repeated.files AS files_of_audio_posts,
    every.posts AS rows_examined
FROM counted AS every
CROSS JOIN (
    SELECT coalesce(pg_catalog.sum(posts), 0)::bigint AS posts, pg_catalog.count(*) AS files
    FROM (
        SELECT pg_catalog.count(*) AS posts
        FROM public.posts
        WHERE (post_type = 'audio') IS TRUE
          AND (audio_url COLLATE "C" >= '!' OR pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') <> '')
          AND pg_catalog.hashtextextended(audio_url COLLATE "C", pg_catalog.uuid_hash_extended(user_id, 0)) IN (
              SELECT hash FROM counted WHERE NOT is_total
          )
        GROUP BY user_id, audio_url COLLATE "C"
    ) AS files
) AS repeated
CROSS JOIN (
    SELECT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired') AS yes
) AS retired
WHERE every.is_total
