-- Every column of posts except the new one, updated_at included.
SELECT
    id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size, audio_duration,
    created_at, updated_at
FROM public.posts
ORDER BY id;
