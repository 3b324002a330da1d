SELECT e.id, e.playlist_id, e.track_id, e.position
FROM public.playlist_tracks AS e
WHERE e.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id)
ORDER BY e.playlist_id, e.position, e.id
