-- Writes that only the new application makes: audio posts without a file of their own, and tracks of posts that were
-- edited without their post.
SELECT r.table_name, r.key, r.at
FROM recent AS r
JOIN public.posts AS p ON p.id = r.key::uuid
WHERE r.table_name = 'public.posts' AND r.operation IN ('I', 'U')
  AND p.post_type = 'audio' AND p.track_id IS NOT NULL AND tracks_posts_separation.is_blank(p.audio_url)
UNION ALL
SELECT r.table_name, r.key, r.at
FROM recent AS r
JOIN public.posts AS p ON p.id = r.key::uuid
WHERE r.table_name = 'public.tracks' AND r.operation = 'U'
  AND NOT EXISTS (
      SELECT FROM recent AS with_it
      WHERE with_it.table_name = 'public.posts' AND with_it.transaction = r.transaction
  )
