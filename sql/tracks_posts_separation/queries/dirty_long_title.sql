-- Bytes first: what has no more of them than a title has characters needs no trimming.
SELECT id, user_id, pg_catalog.length(pg_catalog.btrim(audio_filename, E' \t\r\n')) AS title_length, audio_filename
FROM public.posts
WHERE post_type = 'audio' AND pg_catalog.octet_length(audio_filename) > 255
  AND pg_catalog.length(pg_catalog.btrim(audio_filename, E' \t\r\n')) > 255
ORDER BY created_at, id
