-- Of what was logged, the writes that only the old application makes: audio posts with a file of their own, inserted or
-- given another one. The new application writes track_id and leaves audio_* alone; a post whose track it changed counts too,
-- because its old columns follow. `logged` has table_name, key, operation, old_values and at.
SELECT
    pg_catalog.count(*) FILTER (WHERE judged.old) AS writes,
    pg_catalog.max(judged.at) FILTER (WHERE judged.old) AS last_at,
    (pg_catalog.array_agg(judged.table_name || ' ' || judged.key ORDER BY judged.at DESC) FILTER (WHERE judged.old))[1]
        AS last_row,
    pg_catalog.count(*) AS rows_examined
FROM (
    SELECT
        l.table_name, l.key, l.at,
        l.table_name = 'public.posts' AND p.post_type = 'audio' AND p.audio_url IS NOT NULL AND (
            l.operation = 'I'
            OR l.operation = 'U' AND (
                (l.old_values ->> 'audio_url') COLLATE "C", (l.old_values ->> 'audio_filename') COLLATE "C"
            ) IS DISTINCT FROM (p.audio_url COLLATE "C", p.audio_filename COLLATE "C")
        ) AS old
    FROM logged AS l
    LEFT JOIN public.posts AS p ON l.table_name = 'public.posts' AND p.id = l.key::uuid
) AS judged
