-- What the rollback of every migration begins with: the functions that several of them call. Its last step drops them.
-- Migration 1 explains names, files and planner pins.

-- step: create the functions that find rows of other tables
CREATE SCHEMA IF NOT EXISTS tracks_posts_separation;

-- The foreign keys to a table that the plan does not enforce itself. With columns: only those that an update of these
-- columns would make fail, or set to null or to their default.
CREATE OR REPLACE FUNCTION tracks_posts_separation.keys_of_others(changed regclass, changed_columns name[] DEFAULT NULL)
RETURNS TABLE (child regclass, name name, action "char", match_condition text, is_readable boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        c.conrelid::regclass,
        c.conname,
        CASE
            -- Keys that are NOT ENFORCED (PostgreSQL 18) do nothing.
            WHEN to_jsonb(c) ->> 'conenforced' = 'false' THEN '-'
            WHEN changed_columns IS NULL THEN c.confdeltype
            ELSE c.confupdtype
        END,
        pair.match_condition,
        pair.is_readable
    FROM pg_constraint AS c
    JOIN pg_class AS r ON r.oid = c.conrelid
    CROSS JOIN LATERAL (
        SELECT
            string_agg(
                format('root.%I OPERATOR(%I.%s) child.%I', pa.attname, n.nspname, o.oprname, ca.attname),
                ' AND ' ORDER BY k.place
            ) AS match_condition,
            -- Row-level security hides rows without an error.
            has_schema_privilege(r.relnamespace, 'USAGE')
                AND NOT row_security_active(c.conrelid)
                AND bool_and(has_column_privilege(c.conrelid, ca.attnum, 'SELECT')) AS is_readable,
            array_agg(ca.attname) AS child_columns,
            array_agg(pa.attname) AS parent_columns
        FROM ROWS FROM (unnest(c.conkey), unnest(c.confkey), unnest(c.conpfeqop))
            WITH ORDINALITY AS k (child_number, parent_number, operator, place)
        JOIN pg_attribute AS ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child_number
        JOIN pg_attribute AS pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent_number
        JOIN pg_operator AS o ON o.oid = k.operator
        JOIN pg_namespace AS n ON n.oid = o.oprnamespace
    ) AS pair
    WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = changed
      AND (c.conrelid, pair.child_columns)
          IS DISTINCT FROM ('public.posts'::regclass::oid, ARRAY['track_id'::name])
      AND (changed_columns IS NULL OR (pair.parent_columns && changed_columns AND c.confupdtype <> 'c'))
$$;

-- Refuses to delete rows (with columns: to change these) while rows of other tables reference them. The caller has locked
-- the rows, so that no reference is added meanwhile. The runner knows the refusal by RB001 and can continue from there in
-- either direction.
CREATE OR REPLACE FUNCTION tracks_posts_separation.refuse_rows_of_others(
    changed regclass, ids uuid[], ids_query text, changed_columns name[] DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
DECLARE
    key record;
    referencing bigint;
    first_table regclass;
    first_key name;
    found text[] := '{}';
    statements text[] := '{}';
BEGIN
    IF coalesce(cardinality(ids), 0) = 0 THEN
        RETURN;
    END IF;
    FOR key IN
        SELECT * FROM keys_of_others(changed, changed_columns) ORDER BY child::text, name
    LOOP
        referencing := NULL;
        IF key.is_readable THEN
            EXECUTE format(
                'SELECT count(*) FROM %s AS child JOIN %s AS root ON %s WHERE root.id = ANY ($1)',
                key.child, changed, key.match_condition
            ) INTO referencing USING ids;
        END IF;
        CONTINUE WHEN referencing = 0;
        first_table := coalesce(first_table, key.child);
        first_key := coalesce(first_key, key.name);
        found := found || format(
            '%s of %s%s %s (%s)',
            CASE WHEN referencing IS NULL THEN 'rows' WHEN referencing = 1 THEN '1 row' ELSE referencing || ' rows' END,
            key.child,
            CASE WHEN referencing IS NULL THEN ', which ' || current_user || ' may not count,' ELSE '' END,
            CASE key.action
                WHEN 'c' THEN 'would be deleted'
                WHEN 'n' THEN 'would be set to null'
                WHEN 'd' THEN 'would be set to their default'
                WHEN '-' THEN 'would be left pointing at nothing'
                ELSE 'would make it fail'
            END,
            key.name
        );
        statements := statements || CASE
            WHEN referencing IS NULL THEN format(
                'as the owner of %s: GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT ON %s TO %I (where row-level security '
                'hides rows: a role with BYPASSRLS)',
                key.child, (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = key.child),
                current_user, key.child, current_user
            )
            ELSE format(
                'SELECT child.* FROM %s AS child JOIN %s AS root ON %s WHERE root.id IN (%s)',
                key.child, changed, replace(key.match_condition, 'OPERATOR(pg_catalog.=)', '='), ids_query
            )
        END;
    END LOOP;
    IF first_table IS NOT NULL THEN
        RAISE EXCEPTION 'other tables reference rows of % that are to be %: %',
            changed, CASE WHEN changed_columns IS NULL THEN 'deleted' ELSE 'changed' END,
            array_to_string(found, '; ')
            USING ERRCODE = 'RB001',
                HINT = array_to_string(statements, '; '),
                SCHEMA = (
                    SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = first_table
                ),
                TABLE = (SELECT relname FROM pg_class WHERE oid = first_table),
                CONSTRAINT = first_key;
    END IF;
END
$$;
DO $step$
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.close_to_applications()') IS NOT NULL THEN
        PERFORM tracks_posts_separation.close_to_applications();
    END IF;
END
$step$;

-- step: create the functions that archive tracks
-- Locks the first posts of a range that have a track, in the order of their index.
CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_posts_with_track(
    low uuid, with_low boolean, high uuid, most_rows integer
) RETURNS TABLE (id uuid, track_id uuid)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
BEGIN
    RETURN QUERY
    SELECT p.id, p.track_id
    FROM public.posts AS p
    WHERE p.id >= low AND (p.id > low OR with_low) AND p.id <= high AND (p.track_id IS NOT NULL) IS TRUE
    ORDER BY p.id
    LIMIT most_rows
    FOR NO KEY UPDATE;
END
$$;

-- Deletes those of these tracks that no post has, each whole into the archive with the fields of its post (of a post that
-- agrees with its track, only the file name): a later run inserts it again, but for what changes in the post meanwhile.
CREATE OR REPLACE FUNCTION tracks_posts_separation.archive_tracks(candidates uuid[], has_other_keys boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_exact boolean := (
        SELECT pg_catalog.bool_and(c.is_exact) FROM tracks_posts_separation.table_column AS c
        WHERE c.of_table = 'public.tracks'::pg_catalog.regclass
    );
BEGIN
    -- Before the statements below look for posts that have them. Two batches with posts of one file come here one after
    -- the other, so that the second sees what the first has committed; a session that references one of these tracks
    -- meanwhile waits, or is seen below.
    PERFORM FROM public.tracks AS t WHERE t.id = ANY (candidates) ORDER BY t.id FOR UPDATE;
    IF has_other_keys THEN
        PERFORM tracks_posts_separation.refuse_rows_of_others(
            'public.tracks',
            ARRAY(
                SELECT t.id
                FROM public.tracks AS t
                WHERE t.id = ANY (candidates) AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
            ),
            'SELECT id FROM tracks_posts_separation.made_track'
        );
    END IF;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    WITH gone AS (
        DELETE FROM public.tracks AS t
        USING pg_catalog.unnest(candidates) AS c (id)
        WHERE t.id = c.id AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
        RETURNING t.*, t AS whole
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
    SELECT
        'reverted_track',
        'public.tracks',
        CASE
            WHEN is_exact THEN pg_catalog.to_jsonb(gone.whole) ELSE tracks_posts_separation.row_document(gone.whole)
        END || CASE
            WHEN p.id IS NOT NULL THEN pg_catalog.jsonb_build_object(
                'post', CASE
                    WHEN (
                        p.content COLLATE "C", p.audio_url COLLATE "C", p.audio_mime_type COLLATE "C", p.audio_file_size,
                        p.audio_duration, p.updated_at
                    ) IS NOT DISTINCT FROM (
                        gone.description COLLATE "C", gone.file_url COLLATE "C", gone.mime_type COLLATE "C",
                        gone.file_size, gone.duration, gone.updated_at
                    )
                    THEN pg_catalog.jsonb_build_object('audio_filename', p.audio_filename)
                    ELSE pg_catalog.jsonb_build_object(
                        'content', p.content, 'audio_url', p.audio_url, 'audio_filename', p.audio_filename,
                        'audio_mime_type', p.audio_mime_type, 'audio_file_size', p.audio_file_size,
                        'audio_duration', p.audio_duration, 'updated_at', p.updated_at
                    )
                END
            )
            WHEN EXISTS (SELECT FROM tracks_posts_separation.posts_of_file(gone.user_id, gone.file_url)) THEN '{}'
            ELSE '{"without_post": true}'
        END || CASE
            WHEN o.track_id IS NULL THEN '{}'
            ELSE pg_catalog.jsonb_build_object('named_after', o.post_id)
        END
    FROM gone
    LEFT JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = gone.id
    LEFT JOIN public.posts AS p ON p.id = coalesce(o.post_id, gone.id) AND p.user_id = gone.user_id;
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    DELETE FROM tracks_posts_separation.track_under_other_id AS o
    USING pg_catalog.unnest(candidates) AS c (id)
    WHERE o.track_id = c.id AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = o.track_id);
END
$$;

-- Deletes the tracks that batches leave: one that a repost still had when its own post lost it. Returns how many.
CREATE OR REPLACE FUNCTION tracks_posts_separation.archive_unused_tracks() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    candidates uuid[] := ARRAY(
        SELECT made.id
        FROM tracks_posts_separation.made_track AS made
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = made.id)
    );
BEGIN
    IF pg_catalog.cardinality(candidates) > 0 THEN
        -- As the triggers do: no session decides on such a track for a new post meanwhile.
        PERFORM tracks_posts_separation.lock_slots('file', VARIADIC ARRAY(
            SELECT tracks_posts_separation.file_key(t.user_id, t.file_url) FROM public.tracks AS t WHERE t.id = ANY (candidates)
        ));
        PERFORM tracks_posts_separation.archive_tracks(candidates, true);
    END IF;
    RETURN pg_catalog.cardinality(candidates);
END
$$;

DO $step$
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.close_to_applications()') IS NOT NULL THEN
        PERFORM tracks_posts_separation.close_to_applications();
    END IF;
END
$step$;

-- step: create the function that undoes the backfill
-- Undoes the backfill and what the triggers made, for posts with after_key < id <= upto_key (null: no bound), the first
-- most_rows of them (null: all). Returns their number, and the id of the last one; null where the range is through.
-- Posts of the new application get their audio_* columns from their track.
CREATE OR REPLACE FUNCTION tracks_posts_separation.unmigrate_audio_posts(
    after_key uuid, upto_key uuid, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key uuid
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    low uuid := coalesce(after_key, '00000000-0000-0000-0000-000000000000');
    high uuid := coalesce(upto_key, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    ids uuid[];
    candidates uuid[];
    is_quiet boolean := false;
    role_stays boolean := false;
BEGIN
    rows_moved := 0;
    IF pg_catalog.to_regprocedure('tracks_posts_separation.refuse_whole_table(text)') IS NULL THEN
        RETURN;     -- migration 1 stopped before it could make a track
    END IF;
    IF after_key IS NULL AND upto_key IS NULL AND most_rows IS NULL THEN
        PERFORM tracks_posts_separation.refuse_whole_table('track_id IS NOT NULL');
    END IF;
    SELECT
        pg_catalog.array_agg(locked.id ORDER BY locked.id), pg_catalog.array_agg(DISTINCT locked.track_id), pg_catalog.count(*)
    INTO ids, candidates, rows_moved
    FROM tracks_posts_separation.lock_posts_with_track(low, after_key IS NULL, high, most_rows) AS locked;
    IF rows_moved = most_rows THEN
        last_key := ids[most_rows];
        high := last_key;
    END IF;
    -- From here on a foreign key or a trigger that is added to tracks waits.
    LOCK TABLE public.tracks IN ROW EXCLUSIVE MODE;
    -- Without migration 2 there are few posts, and every trigger sees the deletes.
    IF pg_catalog.to_regprocedure('tracks_posts_separation.begin_batch(text)') IS NOT NULL THEN
        SELECT b.is_quiet, b.role_stays INTO is_quiet, role_stays FROM tracks_posts_separation.begin_batch('DELETE') AS b;
    END IF;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    IF NOT is_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    -- What the old application must read: of a post that has no file, or whose name a rollback made up, everything; of
    -- the others what the new application changed in their track. A repost keeps its own details of the same file.
    WITH readable AS (
        SELECT
            p.id,
            t.file_url,
            CASE
                WHEN NOT kind.is_new THEN p.audio_filename
                ELSE coalesce(
                    CASE
                        WHEN d.audio_filename COLLATE "C" IS DISTINCT FROM p.audio_filename COLLATE "C"
                        THEN nullif(p.audio_filename COLLATE "C", '')
                    END,
                    nullif(pg_catalog.regexp_replace(
                        pg_catalog.regexp_replace(t.file_url COLLATE "C", '[?#].*$', ''), '^.*/', ''
                    ), ''),
                    t.title
                )
            END AS file_name,
            t.mime_type,
            t.file_size,
            t.duration,
            kind.is_new AND p.audio_filename IS NULL OR d.post_id IS NOT NULL AS is_derived
        FROM pg_catalog.unnest(ids) AS wanted (id)
        JOIN public.posts AS p ON p.id = wanted.id
        JOIN public.tracks AS t ON t.id = p.track_id
        LEFT JOIN tracks_posts_separation.derived_file_name AS d ON d.post_id = p.id
        CROSS JOIN LATERAL (
            SELECT tracks_posts_separation.is_blank(p.audio_url) OR d.post_id IS NOT NULL AS is_new
        ) AS kind
        WHERE p.post_type = 'audio'
          AND (
              kind.is_new
              OR p.audio_url COLLATE "C" <> t.file_url COLLATE "C"
              OR (
                  -- The rare condition first: the function costs more than the rest.
                  (t.mime_type COLLATE "C", t.file_size, t.duration) IS DISTINCT FROM (
                      p.audio_mime_type COLLATE "C",
                      CASE WHEN p.audio_file_size > 0 THEN p.audio_file_size END,
                      CASE WHEN p.audio_duration > 0 THEN p.audio_duration END
                  )
                  AND tracks_posts_separation.is_named_after(t.id, p.id)
              )
          )
    ),
    noted AS (
        INSERT INTO tracks_posts_separation.derived_file_name (post_id, audio_filename)
        SELECT readable.id, readable.file_name FROM readable WHERE readable.is_derived
        ON CONFLICT (post_id) DO UPDATE SET audio_filename = excluded.audio_filename
    )
    UPDATE public.posts AS p
    SET track_id = NULL,
        audio_url = CASE WHEN readable.id IS NULL THEN p.audio_url ELSE readable.file_url END,
        audio_filename = CASE WHEN readable.id IS NULL THEN p.audio_filename ELSE readable.file_name END,
        audio_mime_type = CASE WHEN readable.id IS NULL THEN p.audio_mime_type ELSE readable.mime_type END,
        audio_file_size = CASE WHEN readable.id IS NULL THEN p.audio_file_size ELSE readable.file_size END,
        audio_duration = CASE WHEN readable.id IS NULL THEN p.audio_duration ELSE readable.duration END
    FROM pg_catalog.unnest(ids) AS wanted (id)
    LEFT JOIN readable ON readable.id = wanted.id
    WHERE p.id = wanted.id;
    IF NOT is_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
        SET CONSTRAINTS ALL IMMEDIATE;
    END IF;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- Tracks of these posts, and tracks named after posts deleted since: of the same user, or they are uploads.
    SELECT pg_catalog.array_agg(found.id) INTO candidates
    FROM (
        SELECT c.id
        FROM pg_catalog.unnest(candidates) AS c (id)
        CROSS JOIN LATERAL (SELECT t.user_id FROM public.tracks AS t WHERE t.id = c.id OFFSET 0) AS t
        LEFT JOIN LATERAL (SELECT p.user_id FROM public.posts AS p WHERE p.id = c.id OFFSET 0) AS named ON true
        -- Named after a post of their user: most are.
        WHERE (
                named.user_id = t.user_id
                AND NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = c.id)
            )
            OR tracks_posts_separation.is_made_by_us(c.id, t.user_id)
        UNION
        SELECT d.post_id
        FROM tracks_posts_separation.deleted_post AS d
        CROSS JOIN LATERAL (SELECT t.user_id FROM public.tracks AS t WHERE t.id = d.post_id OFFSET 0) AS t
        WHERE d.post_id >= low AND (d.post_id > low OR after_key IS NULL) AND d.post_id <= high
          AND t.user_id = d.user_id
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = d.post_id)
        UNION
        SELECT o.track_id
        FROM tracks_posts_separation.track_under_other_id AS o
        CROSS JOIN LATERAL (SELECT t.user_id FROM public.tracks AS t WHERE t.id = o.track_id OFFSET 0) AS t
        WHERE o.post_id >= low AND (o.post_id > low OR after_key IS NULL) AND o.post_id <= high
          AND t.user_id = o.user_id
    ) AS found;
    PERFORM tracks_posts_separation.archive_tracks(candidates, NOT is_quiet);
    IF is_quiet AND NOT role_stays THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
END
$$;
DO $step$
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.close_to_applications()') IS NOT NULL THEN
        PERFORM tracks_posts_separation.close_to_applications();
    END IF;
END
$step$;
