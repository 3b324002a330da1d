-- A new id for the track, and its posts and playlist entries with it. What else points at it by a key without ON UPDATE
-- refuses: then nothing changes.
CREATE TEMPORARY TABLE changed (rows bigint) ON COMMIT DROP;

DO $repair$
DECLARE
    number bigint;
BEGIN
    PERFORM FROM public.tracks AS t WHERE t.id IN (SELECT key::uuid FROM pg_temp.found) ORDER BY t.id FOR UPDATE;
    CREATE TEMPORARY TABLE new_id ON COMMIT DROP AS
    SELECT t.id AS old, pg_catalog.gen_random_uuid() AS new
    FROM public.tracks AS t
    WHERE t.id IN (SELECT key::uuid FROM pg_temp.found);
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'public.posts'::pg_catalog.regclass AND attname = 'track_id' AND NOT attisdropped
    ) AND pg_catalog.to_regprocedure('tracks_posts_separation.quiet_posts(boolean)') IS NOT NULL THEN
        -- Before the track is there under its new id: no trigger sees this, and the key looks at the statement below.
        PERFORM tracks_posts_separation.quiet_posts(true);
        UPDATE public.posts AS p SET track_id = n.new FROM pg_temp.new_id AS n WHERE p.track_id = n.old;
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.tracks'::pg_catalog.regclass
    ) THEN
        -- One statement: keys look when it ends. Entries that migration 3 has not moved yet mean the post of this id.
        WITH moved AS (
            UPDATE public.playlist_tracks AS e
            SET track_id = n.new
            FROM pg_temp.new_id AS n
            WHERE e.track_id = n.old AND NOT EXISTS (
                SELECT
                FROM public.posts AS p
                WHERE p.id = n.old AND p.track_id <> p.id AND NOT EXISTS (
                    SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = n.old AND u.came_first
                )
            )
        )
        UPDATE public.tracks AS t SET id = n.new FROM pg_temp.new_id AS n WHERE t.id = n.old;
    ELSE
        UPDATE public.tracks AS t SET id = n.new FROM pg_temp.new_id AS n WHERE t.id = n.old;
    END IF;
    GET DIAGNOSTICS number = ROW_COUNT;
    INSERT INTO pg_temp.changed (rows) VALUES (number);
END
$repair$;

SELECT coalesce(pg_catalog.sum(rows), 0)::bigint FROM pg_temp.changed
