-- Audio posts that can have no track, each with every reason. One that has its track is none, whatever its old columns say.
SELECT
    p.id::text AS key, why.reason, p.user_id::text AS user_id, p.updated_at::text AS updated_at, p.post_type, p.audio_url,
    p.audio_filename, p.audio_mime_type, p.audio_file_size::text AS audio_file_size, p.audio_duration::text AS audio_duration
FROM public.posts AS p
CROSS JOIN LATERAL (
    SELECT pg_catalog.concat_ws(
        ', ',
        CASE
            WHEN p.audio_url IS NULL THEN 'audio_url is NULL'
            WHEN p.audio_url COLLATE "C" = '' THEN 'audio_url is empty'
            WHEN pg_catalog.btrim(p.audio_url COLLATE "C", E' \t\r\n') = '' THEN 'audio_url is whitespace only'
        END,
        CASE WHEN NOT EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id) THEN 'user without profile' END,
        CASE
            WHEN pg_catalog.length(pg_catalog.btrim(p.audio_filename, E' \t\r\n')) > 255
            THEN 'title over 255 characters'
        END,
        CASE WHEN p.audio_file_size <= 0 THEN 'size not positive' END,
        CASE WHEN p.audio_duration <= 0 THEN 'duration not positive' END
    ) AS reason
) AS why
WHERE p.post_type = 'audio' AND why.reason <> ''
  -- The column is not there before migration 1: then the name means that of absent.
  AND (SELECT (SELECT track_id FROM (SELECT p.*) AS whole) FROM (SELECT NULL::uuid AS track_id) AS absent) IS NULL
ORDER BY p.created_at, p.id
