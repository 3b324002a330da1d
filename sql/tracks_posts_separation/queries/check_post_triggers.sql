-- The old application is only safe while all of these fire. A superuser's ALTER TABLE ... DISABLE TRIGGER shows here.
SELECT
    pg_catalog.count(*) FILTER (WHERE t.tgenabled = 'O') AS enabled_triggers,
    pg_catalog.string_agg(t.tgname::text || '=' || t.tgenabled::text, ', ' ORDER BY t.tgname) AS states,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_trigger AS t
WHERE t.tgrelid = pg_catalog.to_regclass('public.posts')
  AND NOT t.tgisinternal
  AND t.tgname LIKE '%tracks\_posts\_separation%'
