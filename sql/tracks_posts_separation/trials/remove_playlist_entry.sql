-- Old application: remove an entry from a playlist.

-- pick: an entry of a playlist
SELECT
    e.id::text AS entry_id,
    e.playlist_id::text AS playlist_id,
    e.track_id::text AS track_id,
    l.user_id::text AS user_id
FROM (SELECT id FROM public.playlist_tracks ORDER BY id LIMIT 40) AS few
JOIN public.playlist_tracks AS e ON e.id = few.id
JOIN public.playlists AS l ON l.id = e.playlist_id
LIMIT 1
FOR UPDATE OF e SKIP LOCKED;

-- expect: 1 row
DELETE FROM public.playlist_tracks WHERE playlist_id = %(playlist_id)s AND track_id = %(track_id)s RETURNING id;

-- effect: the entry is gone
SELECT NOT EXISTS (SELECT FROM public.playlist_tracks WHERE id = %(entry_id)s) AS entry_is_gone;
