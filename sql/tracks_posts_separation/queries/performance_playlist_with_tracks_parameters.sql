-- The playlist with most entries.
SELECT playlist_id
FROM public.playlist_tracks
GROUP BY playlist_id
ORDER BY pg_catalog.count(*) DESC, playlist_id
LIMIT 1
