SELECT
    pg_catalog.count(*) FILTER (WHERE t.tgenabled = 'O') AS enabled_triggers,
    pg_catalog.to_regprocedure('public.posts(public.playlist_tracks)') IS NOT NULL AS posts_can_be_joined,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_trigger AS t
WHERE t.tgrelid = pg_catalog.to_regclass('public.playlist_tracks')
  AND t.tgname = 'zz_tracks_posts_separation_translate'
