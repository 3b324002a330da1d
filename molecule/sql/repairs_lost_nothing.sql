-- Every post and entry of all time, in its table or in the archive (which the compared database does not have).
SELECT DISTINCT 'post', id::text FROM public.posts
UNION
SELECT 'entry', id::text FROM public.playlist_tracks
UNION
SELECT CASE found.table_name WHEN 'public.posts' THEN 'post' ELSE 'entry' END, found.id
FROM (
    SELECT (pg_catalog.xpath('/row/table_name/text()', node))[1]::text AS table_name,
        (pg_catalog.xpath('/row/id/text()', node))[1]::text AS id
    FROM pg_catalog.unnest(
        pg_catalog.xpath('/table/row', CASE
            WHEN pg_catalog.to_regclass('tracks_posts_separation.archive') IS NOT NULL THEN pg_catalog.query_to_xml(
                'SELECT table_name, row_data ->> ''id'' AS id FROM tracks_posts_separation.archive', false, false, ''
            )
            ELSE '<table/>'::xml
        END)
    ) AS rows (node)
) AS found
WHERE found.table_name IN ('public.posts', 'public.playlist_tracks')
ORDER BY 1, 2;
