-- The guide's migration 2, written from its description: tracks from audio posts ("prevents duplicate migrations":
-- NOT EXISTS), posts.track_id by user and file, verification. One transaction.
-- As the guide's checks let pass: a repost gets a track of its own, which no post references afterwards.
INSERT INTO public.tracks (
    user_id, title, description, file_url, duration, is_public, created_at, updated_at,
    file_size, mime_type, original_file_size, compression_ratio, compression_applied
)
SELECT
    p.user_id,
    coalesce(nullif(trim(p.audio_filename), ''), 'Audio from ' || to_char(p.created_at, 'YYYY-MM-DD')),
    p.content,
    p.audio_url,
    p.audio_duration,
    true,
    p.created_at,
    p.updated_at,
    p.audio_file_size,
    p.audio_mime_type,
    p.audio_file_size,
    1.0,
    false
FROM public.posts AS p
WHERE p.post_type = 'audio'
    AND p.audio_url IS NOT NULL
    AND p.track_id IS NULL
    AND NOT EXISTS (
        SELECT 1 FROM public.tracks AS t WHERE t.user_id = p.user_id AND t.file_url = p.audio_url
    );

UPDATE public.posts AS p
SET track_id = t.id
FROM public.tracks AS t
WHERE p.post_type = 'audio'
    AND p.track_id IS NULL
    AND t.user_id = p.user_id
    AND t.file_url = p.audio_url;

DO $verify$
DECLARE
    audio_posts bigint;
    orphaned_posts bigint;
    invalid_references bigint;
BEGIN
    SELECT count(*) INTO audio_posts FROM public.posts WHERE post_type = 'audio';
    SELECT count(*) INTO orphaned_posts FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL;
    IF orphaned_posts > 0 THEN
        RAISE EXCEPTION '% of % audio posts have no track', orphaned_posts, audio_posts;
    END IF;
    SELECT count(*) INTO invalid_references
    FROM public.posts AS p
    WHERE p.track_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM public.tracks AS t WHERE t.id = p.track_id);
    IF invalid_references > 0 THEN
        RAISE EXCEPTION '% posts reference no track', invalid_references;
    END IF;
END
$verify$;
