-- Entries that point at a post whose file an earlier post of the same user brought. Only posts whose file has a hash that
-- is met more than once are sorted. A join of posts with their firsts became a nested loop at a million rows.
WITH several AS MATERIALIZED (
    SELECT hash
    FROM (
        SELECT pg_catalog.hashtextextended(audio_url COLLATE "C", pg_catalog.uuid_hash_extended(user_id, 0)) AS hash
        FROM public.posts
        WHERE (post_type = 'audio') IS TRUE
        ORDER BY 1
    ) AS sorted
    GROUP BY hash
    HAVING pg_catalog.count(*) > 1
)
SELECT e.id, e.playlist_id, e.track_id AS post_id, p.first_post_id, e.position
FROM (
    SELECT id, pg_catalog.first_value(id) OVER (PARTITION BY user_id, audio_url COLLATE "C" ORDER BY created_at, id) AS first_post_id
    FROM public.posts
    WHERE (post_type = 'audio') IS TRUE
      AND pg_catalog.hashtextextended(audio_url COLLATE "C", pg_catalog.uuid_hash_extended(user_id, 0)) IN (SELECT hash FROM several)
) AS p
JOIN public.playlist_tracks AS e ON e.track_id = p.id
WHERE p.first_post_id <> p.id
ORDER BY e.playlist_id, e.position, e.id
