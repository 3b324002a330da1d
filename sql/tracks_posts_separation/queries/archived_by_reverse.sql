-- What the old schema cannot hold: playlist entries of tracks that no post uses.
SELECT e.id AS entry, e.playlist_id, e.track_id
FROM public.playlist_tracks AS e
WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id OR p.track_id = e.track_id)
