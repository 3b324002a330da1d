-- Entries that point at a post whose file an earlier post of the same user brought.
SELECT e.id, e.playlist_id, e.track_id AS post_id, first_post.id AS first_post_id, e.position
FROM public.playlist_tracks AS e
JOIN public.posts AS p ON p.id = e.track_id AND p.post_type = 'audio'
JOIN (
    SELECT DISTINCT ON (user_id, audio_url) user_id, audio_url, id
    FROM public.posts
    WHERE post_type = 'audio'
    ORDER BY user_id, audio_url, created_at, id
) AS first_post ON first_post.user_id = p.user_id AND first_post.audio_url = p.audio_url
WHERE first_post.id <> p.id
ORDER BY e.playlist_id, e.position, e.id
