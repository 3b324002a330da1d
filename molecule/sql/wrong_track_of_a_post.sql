-- Audio posts without a track, with a track of another user or file, or with another track than their repost has;
-- text posts with a track.
SELECT post.id, post.post_type, post.track_id
FROM public.posts AS post
LEFT JOIN public.tracks AS track ON track.id = post.track_id
WHERE CASE post.post_type
    WHEN 'text' THEN post.track_id IS NOT NULL
    ELSE (track.user_id, track.file_url) IS DISTINCT FROM (post.user_id, post.audio_url)
        OR EXISTS (
            SELECT
            FROM public.posts AS other
            WHERE other.user_id = post.user_id AND other.audio_url = post.audio_url AND other.track_id <> post.track_id
        )
END
ORDER BY post.id;
