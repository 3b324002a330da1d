-- Every post with its track. A track that is newer than the post it is named after was edited by the new application:
-- only the user must still be the same. Titles and the like come from the post that the track is named after. That post
-- is looked for only where the files differ.
SELECT
    pg_catalog.count(*) FILTER (WHERE t.user_id <> p.user_id) AS different_user,
    pg_catalog.count(*) FILTER (
        WHERE t.file_url <> p.audio_url AND pg_catalog.btrim(p.audio_url, E' \t\r\n') <> ''
        AND t.updated_at <= coalesce(
            (SELECT source.updated_at FROM public.posts AS source WHERE source.id = t.id), p.updated_at
        )
    ) AS different_file,
    pg_catalog.count(*) FILTER (
        WHERE t.id = p.id AND t.updated_at <= p.updated_at
        AND (t.title, t.description, t.duration, t.file_size, t.mime_type, t.created_at) IS DISTINCT FROM (
            coalesce(
                nullif(pg_catalog.left(pg_catalog.btrim(p.audio_filename, E' \t\r\n'), 255), ''),
                'Audio from ' || pg_catalog.to_char(pg_catalog.timezone('UTC', p.created_at), 'YYYY-MM-DD')
            ),
            p.content,
            CASE WHEN p.audio_duration > 0 THEN p.audio_duration END,
            CASE WHEN p.audio_file_size > 0 THEN p.audio_file_size END,
            p.audio_mime_type,
            p.created_at
        )
        AND pg_catalog.btrim(p.audio_url, E' \t\r\n') <> ''
    ) AS different_details,
    pg_catalog.count(*) AS rows_examined
FROM public.posts AS p
JOIN public.tracks AS t ON t.id = p.track_id
WHERE p.post_type = 'audio'
