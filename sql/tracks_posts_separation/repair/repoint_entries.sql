-- Entries whose target is known get it; where the playlist then has it twice the lower position stays. The others are
-- archived. Positions do not change, so the order of the rest does not either.
CREATE TEMPORARY TABLE target ON COMMIT DROP AS
SELECT e.id, e.playlist_id, e.position, e.added_at, f.meant::uuid AS meant
FROM pg_temp.found AS f
JOIN public.playlist_tracks AS e ON e.id = f.key::uuid
FOR UPDATE OF e;

WITH competing AS (
    SELECT id, playlist_id, position, added_at, meant FROM pg_temp.target WHERE meant IS NOT NULL
    UNION
    SELECT e.id, e.playlist_id, e.position, e.added_at, e.track_id
    FROM pg_temp.target AS t
    JOIN public.playlist_tracks AS e ON e.playlist_id = t.playlist_id AND e.track_id = t.meant
    WHERE NOT EXISTS (SELECT FROM pg_temp.target AS also WHERE also.id = e.id)
),
ranked AS (
    SELECT id, pg_catalog.first_value(id) OVER (
        PARTITION BY playlist_id, meant ORDER BY position, added_at, id
    ) AS kept
    FROM competing
),
gone AS (
    DELETE FROM public.playlist_tracks AS e
    USING (
        SELECT id, kept, 'entry_duplicate' AS reason FROM ranked WHERE kept <> id
        UNION ALL
        SELECT t.id, NULL, f.reason FROM pg_temp.target AS t JOIN pg_temp.found AS f ON f.key = t.id::text
        WHERE t.meant IS NULL
    ) AS wrong
    WHERE wrong.id = e.id
    RETURNING wrong.reason, pg_temp.row_document(e) || pg_catalog.jsonb_build_object('kept_entry', wrong.kept) AS row_data
)
INSERT INTO pg_temp.archived (reason, table_name, row_data)
SELECT 'playlist_references: ' || reason, 'public.playlist_tracks', row_data FROM gone;

WITH changed AS (
    UPDATE public.playlist_tracks AS e
    SET track_id = t.meant
    FROM pg_temp.target AS t
    WHERE e.id = t.id AND t.meant IS NOT NULL AND e.track_id <> t.meant
    RETURNING 1
)
SELECT pg_catalog.count(*) FROM changed
