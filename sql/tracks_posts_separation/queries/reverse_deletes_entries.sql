-- Playlist entries that a reverse archives: of tracks that no post uses.
SELECT e.id AS key
FROM public.playlist_tracks AS e
WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id OR p.track_id = e.track_id)
