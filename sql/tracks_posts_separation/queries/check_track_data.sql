-- Every post with its track. A track that is newer than the post it is named after was edited by the new application:
-- only the user must still be the same; so was one that edited_track lists. Titles and the like come from the post that the
-- track is named after. That post is looked for only where the files differ: of those the ids are kept, so that the rest is
-- counted in parallel. Once the compatibility is retired, the application writes either without the other.
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
            AND pg_catalog.btrim(p.audio_url COLLATE "C", E' \t\r\n') <> ''
        ) AS of_other_files,
        pg_catalog.count(*) FILTER (
            WHERE NOT retired.yes AND t.id = p.id AND t.updated_at <= p.updated_at
            AND (
                t.title COLLATE "C", t.description COLLATE "C", t.duration, t.file_size, t.mime_type COLLATE "C", t.created_at
            ) IS DISTINCT FROM (
                coalesce(
                    nullif(pg_catalog.left(pg_catalog.btrim(p.audio_filename COLLATE "C", E' \t\r\n'), 255), ''),
                    'Audio from ' || coalesce(
                        pg_catalog.to_char(pg_catalog.timezone('UTC', p.created_at), 'YYYY-MM-DD'), p.created_at::text
                    )
                ),
                p.content COLLATE "C",
                CASE WHEN p.audio_duration > 0 THEN p.audio_duration END,
                CASE WHEN p.audio_file_size > 0 THEN p.audio_file_size END,
                p.audio_mime_type COLLATE "C",
                p.created_at
            )
            AND pg_catalog.btrim(p.audio_url COLLATE "C", E' \t\r\n') <> ''
            AND NOT EXISTS (SELECT FROM tracks_posts_separation.edited_track AS n WHERE n.track_id = t.id)
        ) AS different_details,
        pg_catalog.count(*) AS rows_examined
    FROM public.posts AS p
    JOIN public.tracks AS t ON t.id = p.track_id
    CROSS JOIN (
        SELECT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired') AS yes
    ) AS retired
    WHERE p.post_type = 'audio'
) AS every
