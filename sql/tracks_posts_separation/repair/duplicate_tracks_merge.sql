-- Posts and playlist entries move to the oldest track, then the others are archived. What else points at one of them stops
-- the repair.
CREATE TEMPORARY TABLE changed (rows bigint) ON COMMIT DROP;

DO $repair$
DECLARE
    number bigint;
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.is_filling()') IS NOT NULL THEN
        IF tracks_posts_separation.is_filling() THEN
            RAISE EXCEPTION 'migration 2 is half applied: which posts share a track is decided'
                USING HINT = 'Finish it first: ansible-playbook migrate.yml.';
        END IF;
    END IF;
    PERFORM FROM public.tracks AS t
    WHERE t.id IN (SELECT key::uuid FROM pg_temp.found UNION SELECT kept::uuid FROM pg_temp.found)
    ORDER BY t.id
    FOR UPDATE;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'public.posts'::pg_catalog.regclass AND attname = 'track_id' AND NOT attisdropped
    ) AND pg_catalog.to_regprocedure('tracks_posts_separation.quiet_posts(boolean)') IS NOT NULL THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
        UPDATE public.posts AS p SET track_id = f.kept::uuid FROM pg_temp.found AS f WHERE p.track_id = f.key::uuid;
        GET DIAGNOSTICS number = ROW_COUNT;
        PERFORM tracks_posts_separation.quiet_posts(false);
        INSERT INTO pg_temp.changed (rows) VALUES (number);
    END IF;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.tracks'::pg_catalog.regclass
    ) THEN
        WITH entry AS (
            SELECT e.id, e.playlist_id, e.position, e.added_at, coalesce(f.kept::uuid, e.track_id) AS meant
            FROM public.playlist_tracks AS e
            LEFT JOIN pg_temp.found AS f ON f.key = e.track_id::text
            WHERE f.key IS NOT NULL OR e.track_id IN (SELECT kept::uuid FROM pg_temp.found)
        ),
        ranked AS (
            SELECT id, pg_catalog.first_value(id) OVER (
                PARTITION BY playlist_id, meant ORDER BY position, added_at, id
            ) AS kept
            FROM entry
        ),
        gone AS (
            DELETE FROM public.playlist_tracks AS e USING ranked AS r WHERE r.id = e.id AND r.kept <> e.id
            RETURNING pg_temp.row_document(e) || pg_catalog.jsonb_build_object('kept_entry', r.kept) AS row_data
        )
        INSERT INTO pg_temp.archived (reason, table_name, row_data)
        SELECT 'duplicate_tracks: entry_duplicate', 'public.playlist_tracks', row_data FROM gone;
        UPDATE public.playlist_tracks AS e SET track_id = f.kept::uuid FROM pg_temp.found AS f WHERE e.track_id = f.key::uuid;
        GET DIAGNOSTICS number = ROW_COUNT;
        INSERT INTO pg_temp.changed (rows) VALUES (number);
    END IF;
END
$repair$;

INSERT INTO pg_temp.to_archive (reason, table_name, key)
SELECT 'duplicate_tracks: ' || reason, 'public.tracks', key FROM pg_temp.found;

SELECT coalesce(pg_catalog.sum(rows), 0)::bigint FROM pg_temp.changed
