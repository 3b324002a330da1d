-- What the application reads, as its REST API asks for it. Parameters are psycopg2's; a line `-- statement: NAME`
-- begins each. Who reads is decided by the claims of the transaction.

-- statement: feed
-- The newest posts with their authors and the number of their comments.
SELECT p.*, u.username, u.avatar_url, replies.number AS comments
FROM public.posts AS p
LEFT JOIN public.profiles AS u ON u.id = p.user_id
LEFT JOIN LATERAL (SELECT count(*) AS number FROM public.comments AS c WHERE c.post_id = p.id) AS replies ON true
ORDER BY p.created_at DESC
LIMIT 20

-- statement: feed_audio
-- The same, only songs: the page "New music" of the old application.
SELECT p.id, p.user_id, p.content, p.audio_url, p.audio_filename, p.audio_duration, p.created_at, u.username
FROM public.posts AS p
JOIN public.profiles AS u ON u.id = p.user_id
WHERE p.post_type = 'audio'
ORDER BY p.created_at DESC
LIMIT 20

-- statement: user_posts
SELECT p.*, u.username
FROM public.posts AS p
JOIN public.profiles AS u ON u.id = p.user_id
WHERE p.user_id = %(user)s
ORDER BY p.created_at DESC
LIMIT 20

-- statement: post_with_comments
SELECT p.*, u.username, thread.comments
FROM public.posts AS p
LEFT JOIN public.profiles AS u ON u.id = p.user_id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object('id', c.id, 'content', c.content, 'by', a.username) ORDER BY c.created_at) AS comments
    FROM public.comments AS c
    LEFT JOIN public.profiles AS a ON a.id = c.user_id
    WHERE c.post_id = p.id
) AS thread ON true
WHERE p.id = %(post)s

-- statement: playlist_by_post
-- The old application's playlist: the REST API joins posts along the key of playlist_tracks.
SELECT l.id AS playlist_id, l.name, e.id AS entry_id, e.track_id, e.position, p.id AS post_id, p.content, p.audio_url
FROM public.playlists AS l
JOIN public.playlist_tracks AS e ON e.playlist_id = l.id
LEFT JOIN public.posts AS p ON p.id = e.track_id
WHERE l.id = %(playlist)s
ORDER BY e.position, e.added_at
LIMIT 100

-- statement: playlist_by_function
-- The same once the key points at tracks: the join resolves through the function posts(playlist_tracks).
SELECT l.id AS playlist_id, l.name, e.id AS entry_id, e.track_id, e.position, p.id AS post_id, p.content, p.audio_url
FROM public.playlists AS l
JOIN public.playlist_tracks AS e ON e.playlist_id = l.id
LEFT JOIN LATERAL public.posts(e) AS p ON true
WHERE l.id = %(playlist)s
ORDER BY e.position, e.added_at
LIMIT 100

-- statement: playlist_by_track
-- The new application's playlist.
SELECT l.id AS playlist_id, l.name, e.id AS entry_id, e.track_id, e.position, t.title, t.file_url, t.duration
FROM public.playlists AS l
JOIN public.playlist_tracks AS e ON e.playlist_id = l.id
LEFT JOIN public.tracks AS t ON t.id = e.track_id
WHERE l.id = %(playlist)s
ORDER BY e.position, e.added_at
LIMIT 100

-- statement: feed_by_track
-- The new application's feed.
SELECT p.id, p.user_id, p.content, p.created_at, u.username, t.id AS track_id, t.title, t.file_url, t.duration
FROM public.posts AS p
JOIN public.profiles AS u ON u.id = p.user_id
LEFT JOIN public.tracks AS t ON t.id = p.track_id
ORDER BY p.created_at DESC
LIMIT 20

-- statement: prepare_posts_of_user
-- A driver that prepares what it asks often. The result has every column: it meets trap 25 when one is added.
PREPARE posts_of_user (uuid) AS
SELECT * FROM public.posts WHERE user_id = $1 ORDER BY created_at DESC LIMIT 20

-- statement: posts_of_user
EXECUTE posts_of_user (%(user)s)

-- statement: prepare_post_by_id
PREPARE post_by_id (uuid) AS
SELECT * FROM public.posts WHERE id = $1

-- statement: post_by_id
EXECUTE post_by_id (%(post)s)
