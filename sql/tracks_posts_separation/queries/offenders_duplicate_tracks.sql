SELECT t.user_id, t.file_url, pg_catalog.count(*) AS count, pg_catalog.array_agg(t.id ORDER BY t.created_at, t.id) AS track_ids
FROM public.tracks AS t
LEFT JOIN public.posts AS p ON p.id = t.id
LEFT JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = t.id
WHERE p.id IS NOT NULL OR o.track_id IS NOT NULL
GROUP BY t.user_id, t.file_url
HAVING pg_catalog.count(*) > 1
ORDER BY t.user_id, t.file_url
