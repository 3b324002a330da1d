-- Old application: delete a playlist.

-- pick: a playlist with few entries
SELECT l.id::text AS playlist_id, l.user_id::text AS user_id
FROM (SELECT id FROM public.playlists ORDER BY id LIMIT 40) AS few
JOIN public.playlists AS l ON l.id = few.id
WHERE (SELECT count(*) FROM (SELECT FROM public.playlist_tracks AS e WHERE e.playlist_id = l.id LIMIT 101) AS e) <= 100
LIMIT 1
FOR UPDATE OF l SKIP LOCKED;

-- expect: 1 row
DELETE FROM public.playlists WHERE id = %(playlist_id)s RETURNING id;

-- effect: the playlist and its entries are gone
SELECT
    NOT EXISTS (SELECT FROM public.playlists WHERE id = %(playlist_id)s) AS playlist_is_gone,
    NOT EXISTS (SELECT FROM public.playlist_tracks WHERE playlist_id = %(playlist_id)s) AS entries_are_gone;
