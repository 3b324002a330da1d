-- The tracks that migration 2 creates, before migration 1: one per user and file of the audio posts that no track has
-- yet, from the earliest post and under its id.
WITH audio_post AS (
    SELECT
        p.*,
        pg_catalog.first_value(p.id) OVER (
            PARTITION BY p.user_id, pg_catalog.hashtextextended(p.audio_url, 0), p.audio_url COLLATE "C"
            ORDER BY p.created_at, p.id
        ) AS original
    FROM public.posts AS p
    JOIN public.profiles AS u ON u.id = p.user_id
    WHERE p.post_type = 'audio' AND pg_catalog.btrim(p.audio_url, E' \t\r\n') <> ''
)
SELECT
    p.id,
    p.user_id,
    coalesce(
        nullif(pg_catalog.left(pg_catalog.btrim(p.audio_filename, E' \t\r\n'), 255), ''),
        'Audio from ' || pg_catalog.to_char(pg_catalog.timezone('UTC', p.created_at), 'YYYY-MM-DD')
    ) AS title,
    p.content AS description,
    p.audio_url AS file_url,
    CASE WHEN p.audio_duration > 0 THEN p.audio_duration END AS duration,
    pg_catalog.current_setting('tracks_posts_separation.migrated_tracks_are_public', true)::boolean AS is_public,
    p.created_at,
    p.updated_at,
    CASE WHEN p.audio_file_size > 0 THEN p.audio_file_size END AS file_size,
    p.audio_mime_type AS mime_type,
    CASE WHEN p.audio_file_size > 0 THEN p.audio_file_size END AS original_file_size,
    1.0::numeric(4, 2) AS compression_ratio,
    false AS compression_applied
FROM audio_post AS p
WHERE p.id = p.original
  AND NOT EXISTS (
      SELECT FROM public.tracks AS t
      WHERE t.user_id = p.user_id
        AND pg_catalog.hashtextextended(t.file_url, 0) = pg_catalog.hashtextextended(p.audio_url, 0)
        AND t.file_url = p.audio_url
  );
