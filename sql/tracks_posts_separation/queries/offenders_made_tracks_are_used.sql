SELECT t.id AS track_id, t.user_id, t.file_url, t.title, t.created_at
FROM public.tracks AS t
WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
  AND (
      EXISTS (SELECT FROM public.posts AS p WHERE p.id = t.id AND p.user_id = t.user_id)
      OR EXISTS (
          SELECT FROM tracks_posts_separation.deleted_post AS d WHERE d.post_id = t.id AND d.user_id = t.user_id
      )
      OR EXISTS (
          SELECT FROM tracks_posts_separation.track_under_other_id AS o WHERE o.track_id = t.id AND o.user_id = t.user_id
      )
  )
  AND NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id)
ORDER BY t.created_at, t.id
