SELECT
    p.id AS post_id,
    p.audio_url AS post_audio_url,
    t.id AS track_id,
    t.file_url AS track_file_url,
    p.audio_filename AS post_audio_filename,
    t.title AS track_title,
    p.user_id AS post_user_id,
    t.user_id AS track_user_id
FROM public.posts AS p
JOIN public.tracks AS t ON t.id = p.track_id
LEFT JOIN public.posts AS source ON source.id = t.id AND source.user_id = t.user_id
WHERE p.post_type = 'audio'
  AND (
      t.user_id <> p.user_id
      OR (
          t.updated_at <= coalesce(source.updated_at, p.updated_at)
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.edited_track AS n WHERE n.track_id = t.id)
          AND pg_catalog.btrim(p.audio_url COLLATE "C", E' \t\r\n') <> ''
          AND (
              t.file_url COLLATE "C" <> p.audio_url COLLATE "C"
              OR (
                  t.id = p.id
                  AND (
                      t.title COLLATE "C", t.description COLLATE "C", t.duration, t.file_size, t.mime_type COLLATE "C",
                      t.created_at
                  ) IS DISTINCT FROM (
                      coalesce(
                          nullif(pg_catalog.left(pg_catalog.btrim(p.audio_filename COLLATE "C", E' \t\r\n'), 255), ''),
                          'Audio from ' || coalesce(
                              pg_catalog.to_char(pg_catalog.timezone('UTC', p.created_at), 'YYYY-MM-DD'),
                              p.created_at::text
                          )
                      ),
                      p.content COLLATE "C",
                      CASE WHEN p.audio_duration > 0 THEN p.audio_duration END,
                      CASE WHEN p.audio_file_size > 0 THEN p.audio_file_size END,
                      p.audio_mime_type COLLATE "C",
                      p.created_at
                  )
              )
          )
      )
  )
ORDER BY p.created_at, p.id
