-- Writes that only the new application makes: audio posts without a file of their own, and tracks that were uploaded to the
-- library, edited or deleted without a post. What the old application does to a post reaches its track in the same
-- transaction. An account that goes takes its library along, which looks the same.
SELECT r.table_name, r.key, r.operation, r.at
FROM recent AS r
JOIN public.posts AS p ON p.id = r.key::uuid
WHERE r.table_name = 'public.posts' AND r.operation IN ('I', 'U')
  AND p.post_type = 'audio' AND p.track_id IS NOT NULL AND tracks_posts_separation.is_blank(p.audio_url)
UNION ALL
SELECT r.table_name, r.key, r.operation, r.at
FROM recent AS r
WHERE r.table_name = 'public.tracks'
  AND (r.operation <> 'U' OR EXISTS (
      SELECT FROM public.posts AS p JOIN public.tracks AS t ON t.id = p.id AND t.user_id = p.user_id WHERE p.id = r.key::uuid
  ))
  AND NOT EXISTS (
      SELECT FROM recent AS with_it
      WHERE with_it.table_name = 'public.posts' AND with_it.transaction = r.transaction
  )
