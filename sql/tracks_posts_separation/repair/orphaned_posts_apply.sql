-- From migration 1 on the triggers make the track of each post that can have one now.
WITH changed AS (
    UPDATE public.posts AS p
    SET user_id = w.user_id::uuid,
        post_type = w.post_type,
        audio_url = CASE WHEN w.post_type = 'audio' THEN w.audio_url END,
        audio_filename = CASE WHEN w.post_type = 'audio' THEN w.audio_filename END,
        audio_mime_type = CASE WHEN w.post_type = 'audio' THEN w.audio_mime_type END,
        audio_file_size = CASE WHEN w.post_type = 'audio' THEN w.audio_file_size::integer END,
        audio_duration = CASE WHEN w.post_type = 'audio' THEN w.audio_duration::integer END
    FROM pg_temp.work_list AS w
    WHERE p.id = w.key::uuid
    RETURNING 1
)
SELECT pg_catalog.count(*) FROM changed
