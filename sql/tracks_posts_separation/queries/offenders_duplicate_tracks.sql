SELECT t.user_id, t.file_url COLLATE "C" AS file_url, pg_catalog.count(*) AS count, pg_catalog.array_agg(t.id ORDER BY t.created_at, t.id) AS track_ids
FROM public.tracks AS t
LEFT JOIN public.posts AS p ON p.id = t.id AND p.user_id = t.user_id
LEFT JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = t.id AND o.user_id = t.user_id
WHERE (p.id IS NOT NULL OR o.track_id IS NOT NULL)
  AND NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id)
GROUP BY t.user_id, t.file_url COLLATE "C"
HAVING pg_catalog.count(*) > 1
ORDER BY 1, 2
