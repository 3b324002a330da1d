-- One track for each file that had none. Each has the id and times of the file's earliest post.
SELECT
    (
        SELECT count(*)
        FROM (
            SELECT user_id, audio_url FROM public.posts WHERE post_type = 'audio'
            EXCEPT
            SELECT user_id, file_url FROM public.tracks
            WHERE NOT EXISTS (SELECT FROM public.posts WHERE posts.id = tracks.id)
        ) AS file_without_track
    ) - count(*) AS missing,
    count(*) FILTER (
        WHERE (track.created_at, track.updated_at) IS DISTINCT FROM (post.created_at, post.updated_at)
            OR pg_catalog.btrim(track.title) = ''
            OR EXISTS (
                SELECT
                FROM public.posts AS earlier
                WHERE earlier.user_id = post.user_id
                    AND earlier.audio_url = post.audio_url
                    AND (earlier.created_at, earlier.id) < (post.created_at, post.id)
            )
    ) AS wrong,
    count(*) > 200 AS enough_to_judge
FROM public.tracks AS track
INNER JOIN public.posts AS post ON post.id = track.id;
