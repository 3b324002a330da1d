SELECT
    pg_catalog.count(*) FILTER (
        WHERE t.tgenabled = 'O' AND t.tgname = 'zz_tracks_posts_separation_translate'
    ) AS enabled_triggers,
    CASE WHEN NOT retired.yes THEN 1 ELSE 0 END AS wanted_triggers,
    NOT retired.yes AS posts_should_be_joined,
    pg_catalog.to_regprocedure('public.posts(public.playlist_tracks)') IS NOT NULL AS posts_can_be_joined,
    pg_catalog.count(*) AS rows_examined
FROM pg_catalog.pg_trigger AS t
CROSS JOIN (
    SELECT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired') AS yes
) AS retired
WHERE t.tgrelid = pg_catalog.to_regclass('public.playlist_tracks')
GROUP BY retired.yes
