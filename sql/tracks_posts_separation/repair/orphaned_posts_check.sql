-- Lines of the corrected list that would leave a post as it must not be, each with the first reason.
SELECT line, reason
FROM (
    SELECT
        w.line,
        CASE
            WHEN w.post_type IS NULL OR w.post_type NOT IN ('audio', 'text') THEN 'post_type must be audio or text'
            WHEN w.user_id IS NULL
                OR w.user_id !~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN 'user_id is no uuid'
            WHEN w.post_type = 'text' THEN NULL
            WHEN w.audio_url IS NULL OR pg_catalog.btrim(w.audio_url, E' \t\r\n') = '' THEN 'audio_url is blank'
            WHEN NOT EXISTS (SELECT FROM public.profiles AS u WHERE u.id::text = pg_catalog.lower(w.user_id))
                THEN 'user_id has no profile'
            WHEN w.audio_filename IS NULL THEN 'audio_filename is empty'
            WHEN pg_catalog.length(pg_catalog.btrim(w.audio_filename, E' \t\r\n')) > 255
                THEN 'audio_filename is over 255 characters'
            WHEN w.audio_file_size !~ '^[0-9]{1,10}$' OR w.audio_file_size::bigint NOT BETWEEN 1 AND 2147483647
                THEN 'audio_file_size is not a positive number'
            WHEN w.audio_duration !~ '^[0-9]{1,10}$' OR w.audio_duration::bigint NOT BETWEEN 1 AND 2147483647
                THEN 'audio_duration is not a positive number'
        END AS reason
    FROM pg_temp.work_list AS w
) AS judged
WHERE reason IS NOT NULL
ORDER BY line
