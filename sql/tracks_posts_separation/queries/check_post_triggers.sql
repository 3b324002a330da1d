-- The old application is only safe while all of these fire. A superuser's ALTER TABLE ... DISABLE TRIGGER shows here.
SELECT
    pg_catalog.count(*) FILTER (WHERE t.tgenabled = 'O' AND ours.is_ours) AS enabled_triggers,
    -- Retired with the old application (playbooks/retire_compatibility.yml).
    CASE
        WHEN EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired') THEN 0
        ELSE 6
    END AS wanted_triggers,
    pg_catalog.string_agg(t.tgname::text || '=' || t.tgenabled::text, ', ' ORDER BY t.tgname)
        FILTER (WHERE ours.is_ours) AS states,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_trigger AS t
CROSS JOIN LATERAL (SELECT t.tgname LIKE '%tracks\_posts\_separation%' AS is_ours) AS ours
WHERE t.tgrelid = pg_catalog.to_regclass('public.posts')
  AND NOT t.tgisinternal
