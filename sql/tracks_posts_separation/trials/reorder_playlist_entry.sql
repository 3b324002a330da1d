-- Old application: move an entry to the end of its playlist.

-- pick: an entry of a playlist
SELECT
    e.id::text AS entry_id,
    e.playlist_id::text AS playlist_id,
    e.track_id::text AS track_id,
    l.user_id::text AS user_id,
    (SELECT max(o.position) + 1 FROM public.playlist_tracks AS o WHERE o.playlist_id = e.playlist_id) AS new_position
FROM (SELECT id FROM public.playlist_tracks ORDER BY id LIMIT 40) AS few
JOIN public.playlist_tracks AS e ON e.id = few.id
JOIN public.playlists AS l ON l.id = e.playlist_id
LIMIT 1
FOR UPDATE OF e SKIP LOCKED;

-- expect: 1 row
UPDATE public.playlist_tracks SET position = %(new_position)s
WHERE playlist_id = %(playlist_id)s AND track_id = %(track_id)s
RETURNING id;

-- effect: the new position
SELECT position = %(new_position)s AS has_the_new_position FROM public.playlist_tracks WHERE id = %(entry_id)s;
