SELECT
    user_id, audio_url COLLATE "C" AS audio_url, pg_catalog.array_agg(DISTINCT track_id) AS track_ids,
    pg_catalog.array_agg(id ORDER BY id) AS post_ids
FROM public.posts
WHERE post_type = 'audio' AND pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') <> ''
GROUP BY user_id, audio_url COLLATE "C"
HAVING pg_catalog.count(DISTINCT track_id) <> 1
UNION ALL
SELECT
    NULL, pg_catalog.string_agg(DISTINCT audio_url COLLATE "C", ' and '), ARRAY[track_id],
    pg_catalog.array_agg(id ORDER BY id)
FROM public.posts
WHERE post_type = 'audio' AND track_id IS NOT NULL AND pg_catalog.btrim(audio_url COLLATE "C", E' \t\r\n') <> ''
GROUP BY track_id
HAVING pg_catalog.count(DISTINCT (user_id, audio_url COLLATE "C")) > 1
ORDER BY 2
