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
CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
WHERE p.post_type = 'audio'
  AND (
      t.user_id <> p.user_id
      OR (
          t.updated_at <= coalesce(source.updated_at, p.updated_at)
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.edited_track AS n WHERE n.track_id = t.id)
          AND NOT tracks_posts_separation.is_blank(p.audio_url)
          AND (
              t.file_url COLLATE "C" <> p.audio_url COLLATE "C"
              OR (
                  t.id = p.id
                  AND (
                      t.title COLLATE "C", t.description COLLATE "C", t.duration, t.file_size, t.mime_type COLLATE "C",
                      t.created_at
                  ) IS DISTINCT FROM (
                      v.title COLLATE "C", v.description COLLATE "C", v.duration, v.file_size, v.mime_type COLLATE "C",
                      v.created_at
                  )
              )
          )
      )
  )
ORDER BY p.created_at, p.id
