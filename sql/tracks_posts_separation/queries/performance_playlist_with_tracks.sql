SELECT pl.*, e.position, t.*
FROM public.playlists AS pl
JOIN public.playlist_tracks AS e ON pl.id = e.playlist_id
JOIN public.tracks AS t ON e.track_id = t.id
WHERE pl.id = %(playlist_id)s
ORDER BY e.position
