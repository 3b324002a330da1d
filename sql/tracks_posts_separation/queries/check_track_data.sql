-- Every post with its track. Of a track that was edited since (newer than the post it is named after, or listed in
-- edited_track) only the user must be the same. The post it is named after is looked up only where the files differ: the
-- ids of those are kept, so that the rest is counted in parallel. Once the compatibility is retired, the application writes
-- either without the other.
SELECT
    every.different_user,
    (
        SELECT pg_catalog.count(*)
        FROM pg_catalog.unnest(every.of_other_files) AS other (id)
        JOIN public.posts AS p ON p.id = other.id
        JOIN public.tracks AS t ON t.id = p.track_id
        LEFT JOIN public.posts AS source ON source.id = t.id AND source.user_id = t.user_id
        WHERE t.updated_at <= coalesce(source.updated_at, p.updated_at)
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.edited_track AS n WHERE n.track_id = t.id)
    ) AS different_file,
    every.different_details,
    every.rows_examined
FROM (
    SELECT
        pg_catalog.count(*) FILTER (WHERE NOT retired.yes AND t.user_id <> p.user_id) AS different_user,
        pg_catalog.array_agg(p.id) FILTER (
            WHERE NOT retired.yes AND t.file_url COLLATE "C" <> p.audio_url COLLATE "C"
              AND NOT tracks_posts_separation.is_blank(p.audio_url)
        ) AS of_other_files,
        pg_catalog.count(*) FILTER (
            WHERE NOT retired.yes AND t.id = p.id AND t.updated_at <= p.updated_at
            AND (
                t.title COLLATE "C", t.description COLLATE "C", t.duration, t.file_size, t.mime_type COLLATE "C", t.created_at
            ) IS DISTINCT FROM (
                v.title COLLATE "C", v.description COLLATE "C", v.duration, v.file_size, v.mime_type COLLATE "C", v.created_at
            )
            AND NOT tracks_posts_separation.is_blank(p.audio_url)
            AND NOT EXISTS (SELECT FROM tracks_posts_separation.edited_track AS n WHERE n.track_id = t.id)
        ) AS different_details,
        pg_catalog.count(*) AS rows_examined
    FROM public.posts AS p
    JOIN public.tracks AS t ON t.id = p.track_id
    CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
    CROSS JOIN (
        SELECT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired') AS yes
    ) AS retired
    WHERE p.post_type = 'audio'
) AS every
