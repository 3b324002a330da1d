SELECT e.id, e.playlist_id, e.track_id AS post_id, e.position
FROM public.playlist_tracks AS e
JOIN public.posts AS p ON p.id = e.track_id
WHERE p.post_type <> 'audio'
ORDER BY e.playlist_id, e.position, e.id
