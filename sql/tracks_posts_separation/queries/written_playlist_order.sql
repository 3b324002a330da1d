-- Every entry of a playlist in which the application wrote an entry, or whose file it wrote: where one entry goes or
-- moves, another one of the same file may be the first. Entries that migration 3 archived are among them.
WITH files AS (
    SELECT w.key::uuid AS id
    FROM written AS w
    WHERE w.table_name IN ('public.posts', 'public.tracks')
    UNION
    SELECT coalesce(p.track_id, d.track_id)
    FROM written AS w
    LEFT JOIN public.posts AS p ON p.id = w.key::uuid
    LEFT JOIN tracks_posts_separation.deleted_post AS d ON d.post_id = w.key::uuid
    WHERE w.table_name = 'public.posts'
),

entries AS (
    SELECT e.id::text AS id, e.playlist_id, e.track_id
    FROM public.playlist_tracks AS e
    UNION ALL
    SELECT a.row_data ->> 'id', (a.row_data ->> 'playlist_id')::uuid, (a.row_data ->> 'track_id')::uuid
    FROM tracks_posts_separation.archive AS a
    WHERE a.table_name = 'public.playlist_tracks'
),

lists AS (
    SELECT (w.old_values ->> 'playlist_id')::uuid AS id
    FROM written AS w
    WHERE w.table_name = 'public.playlist_tracks'
    UNION
    SELECT e.playlist_id
    FROM entries AS e
    WHERE e.id IN (SELECT w.key FROM written AS w WHERE w.table_name = 'public.playlist_tracks')
       OR e.track_id IN (SELECT f.id FROM files AS f)
)

SELECT w.key
FROM written AS w
WHERE w.table_name = 'public.playlist_tracks'
UNION
SELECT e.id
FROM entries AS e
WHERE e.playlist_id IN (SELECT l.id FROM lists AS l)
