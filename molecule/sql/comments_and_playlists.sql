SELECT 'comment' AS kind, id, to_jsonb(comments) AS row_data FROM public.comments
UNION ALL
SELECT 'playlist', id, to_jsonb(playlists) FROM public.playlists
ORDER BY kind, id;
