-- Tracks without a post are few: only of those is it asked, one by one, whether the migration made them. Once the
-- compatibility is retired, a deleted post leaves its track, as with an upload.
SELECT unused.id AS track_id, unused.user_id, unused.file_url, unused.title, unused.created_at
FROM (
    SELECT t.id, t.user_id, t.file_url, t.title, t.created_at
    FROM public.tracks AS t
    WHERE NOT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired')
      AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
    OFFSET 0
) AS unused
CROSS JOIN LATERAL (SELECT FROM tracks_posts_separation.made_track AS m WHERE m.id = unused.id OFFSET 0) AS made
ORDER BY unused.created_at, unused.id
