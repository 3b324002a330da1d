-- What each playlist plays, in order, a repost counted once: the same before and after, because an entry means a file of
-- a user, whether it names a post (before) or a track (after).
SELECT playlist_id, user_id, file_url, pg_catalog.min(position) AS position
FROM (
    SELECT
        entry.playlist_id,
        entry.position,
        coalesce(track.user_id, post.user_id) AS user_id,
        coalesce(track.file_url, post.audio_url) AS file_url
    FROM public.playlist_tracks AS entry
    LEFT JOIN public.tracks AS track ON track.id = entry.track_id
    LEFT JOIN public.posts AS post ON post.id = entry.track_id
) AS heard
GROUP BY playlist_id, user_id, file_url
ORDER BY playlist_id, position, user_id, file_url;
