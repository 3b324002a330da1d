-- New application: upload a track and add it to a playlist.

-- pick: a playlist
SELECT
    l.id::text AS playlist_id,
    l.user_id::text AS user_id,
    (SELECT coalesce(max(e.position), 0) + 1 FROM public.playlist_tracks AS e WHERE e.playlist_id = l.id) AS position,
    gen_random_uuid()::text AS track_id,
    gen_random_uuid()::text AS entry_id,
    'https://cdn.example.org/trial-' || gen_random_uuid() || '.mp3' AS file_url
FROM public.playlists AS l
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = l.user_id)
ORDER BY l.id
LIMIT 1
FOR UPDATE OF l SKIP LOCKED;

-- expect: 1 row
INSERT INTO public.tracks (id, user_id, title, file_url, duration, file_size, mime_type, is_public)
VALUES (%(track_id)s, %(user_id)s, 'A new track', %(file_url)s, 180, 4096, 'audio/mpeg', true)
RETURNING id;

-- expect: 1 row
INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position)
VALUES (%(entry_id)s, %(playlist_id)s, %(track_id)s, %(position)s)
RETURNING id, track_id;

-- effect: the playlist lists the track
SELECT e.playlist_id = %(playlist_id)s AS is_in_the_playlist, t.file_url = %(file_url)s AS is_the_track
FROM public.playlist_tracks AS e
JOIN public.tracks AS t ON t.id = e.track_id
WHERE e.id = %(entry_id)s;
