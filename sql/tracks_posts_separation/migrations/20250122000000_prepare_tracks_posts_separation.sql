-- Tracks vs Posts Separation, migration 1: schema preparation.
--
-- Adds what the new application reads (posts.track_id, the further columns of tracks) and the triggers that keep the
-- old application correct from here until the compatibility is retired. Nothing that exists is rewritten.
--
-- Serves ansible-playbook, `supabase db push` and psql. The setting must be given:
--   tracks_posts_separation.migrated_tracks_are_public   (the runner takes it from the inventory)

-- step: helper schema
CREATE SCHEMA IF NOT EXISTS tracks_posts_separation;
COMMENT ON SCHEMA tracks_posts_separation IS
    'Tracks vs Posts Separation: compatibility triggers, archive and what a rollback needs. Not for applications.';

CREATE TABLE IF NOT EXISTS tracks_posts_separation.setting (
    name text PRIMARY KEY,
    value text NOT NULL
);

-- Objects that some deployments had before us: a revert leaves them alone.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.existed_before (
    kind text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Definitions we replaced, as they were.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.replaced (
    kind text NOT NULL,
    name text NOT NULL,
    definition text,
    was_valid boolean NOT NULL DEFAULT true,
    remark text,                -- the comment on it
    PRIMARY KEY (kind, name)
);

-- An earlier rollback kept the archive in a schema of its own: it goes on here.
DO $step$
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation_kept.archive') IS NOT NULL
        AND pg_catalog.to_regclass('tracks_posts_separation.archive') IS NULL
    THEN
        ALTER TABLE tracks_posts_separation_kept.archive SET SCHEMA tracks_posts_separation;
        ALTER TABLE tracks_posts_separation_kept.derived_file_name SET SCHEMA tracks_posts_separation;
        DROP SCHEMA tracks_posts_separation_kept;
    END IF;
END
$step$;

-- Rows that could not stay where they were. run_id is null where no runner was there.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.archive (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason text NOT NULL,
    table_name text NOT NULL,
    row_data jsonb NOT NULL,
    run_id text,
    archived_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
-- A reverse puts a row of every track here: nothing is gained by vacuuming them meanwhile.
ALTER TABLE tracks_posts_separation.archive SET (autovacuum_vacuum_insert_threshold = -1);
-- One index for both: of two the planner, which knows nothing of row_data, would take the one on the reason alone.
-- Only of the rows that migrations and triggers put here: a repair archives rows of any table, whose id need not be a uuid.
CREATE INDEX IF NOT EXISTS archive_reason_and_row
    ON tracks_posts_separation.archive (reason, ((row_data ->> 'id')::uuid))
    WHERE reason IN (
        'entry_repointed', 'entry_collapsed', 'entry_without_track', 'request_met_entry', 'entry_of_replaced_track',
        'entry_of_deleted_track', 'entry_without_post', 'changed_track_of_post', 'track_without_post', 'reverted_track'
    );
-- Of an archive that an earlier version kept.
DROP INDEX IF EXISTS tracks_posts_separation.archive_reason;
DROP INDEX IF EXISTS tracks_posts_separation.archive_row_id;

-- File names that a rollback had to make up for posts that had none: never the truth about a title.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.derived_file_name (
    post_id uuid PRIMARY KEY,
    audio_filename text NOT NULL
);

-- A track is ours when a post of the same user has its id, or had it until it was deleted, or when it stands in
-- track_under_other_id. Ids alone prove nothing: any user can insert a row under any id.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.deleted_post (
    post_id uuid NOT NULL,
    user_id uuid NOT NULL,
    track_id uuid NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (post_id, user_id)
);
CREATE TABLE IF NOT EXISTS tracks_posts_separation.track_under_other_id (
    track_id uuid PRIMARY KEY,
    post_id uuid NOT NULL,
    user_id uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS track_under_other_id_post ON tracks_posts_separation.track_under_other_id (post_id);

-- Tracks that the application edited without a later updated_at: nothing else tells their fields from a wrong backfill.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.edited_track (
    track_id uuid PRIMARY KEY
);

-- Tracks that the application inserted although a post has their id: uploads, never ours. came_first: before that post.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.uploaded_track (
    track_id uuid PRIMARY KEY,
    came_first boolean NOT NULL
);

-- Rows that are locked in place of advisory locks, whose keys any session could take. Nobody ever writes them.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.lock_slot (
    kind text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    PRIMARY KEY (kind, number)
);
INSERT INTO tracks_posts_separation.lock_slot (kind, number)
SELECT kinds.kind, numbers.number
FROM (VALUES ('file'), ('entry')) AS kinds (kind)
CROSS JOIN pg_catalog.generate_series(0, 1023) AS numbers (number)
ON CONFLICT (kind, number) DO NOTHING;

-- How a constraint is defined, with every name qualified and without its state of validation: whoever runs this has a
-- search_path of his own, and so has whoever makes the constraint again.
CREATE OR REPLACE FUNCTION tracks_posts_separation.constraint_definition(
    of_table pg_catalog.regclass, constraint_name name
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(oid), ' NOT VALID$', '')
        FROM pg_catalog.pg_constraint
        WHERE conrelid = of_table AND conname = constraint_name
    );
END
$$;

-- The search_path under which triggers, defaults and checks of the deployment run: a session of the application has it.
-- Settings of roles that may write posts come first (of several roles all, the owner's last), then that of the database,
-- else the server's. "$user" is left out: it names another schema for every role. pg_temp stands last: anybody can put
-- names there.
CREATE OR REPLACE FUNCTION tracks_posts_separation.record_deployment_path() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    given record;
    schemas text[];
    found text[] := '{}';
    has_default boolean := false;
    path text;
BEGIN
    FOR given IN
        WITH setting AS (
            SELECT DISTINCT ON (d.setrole) d.setrole, pg_catalog.substr(c.line, 13) AS value
            FROM pg_catalog.pg_db_role_setting AS d
            CROSS JOIN LATERAL pg_catalog.unnest(d.setconfig) AS c (line)
            WHERE c.line LIKE 'search\_path=%'
              AND d.setdatabase IN (
                  0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              )
            ORDER BY d.setrole, d.setdatabase DESC
        )
        SELECT every.value, every.place
        FROM (
            SELECT
                setting.value,
                CASE WHEN r.oid = posts.relowner THEN 2 WHEN r.rolcanlogin THEN 0 ELSE 1 END AS place,
                r.rolname AS role
            FROM setting
            JOIN pg_catalog.pg_roles AS r ON r.oid = setting.setrole
            JOIN pg_catalog.pg_class AS posts ON posts.oid = 'public.posts'::pg_catalog.regclass
            WHERE NOT r.rolsuper
              AND EXISTS (
                  SELECT
                  FROM pg_catalog.pg_roles AS writer
                  WHERE NOT writer.rolsuper
                    AND pg_catalog.pg_has_role(r.oid, writer.oid, 'MEMBER')
                    AND pg_catalog.has_table_privilege(writer.oid, posts.oid, 'INSERT, UPDATE, DELETE')
              )
            UNION ALL
            SELECT setting.value, 3, '' FROM setting WHERE setting.setrole = 0
            UNION ALL
            -- The server's, unless this session's role has one of its own.
            SELECT s.reset_val, 4, ''
            FROM pg_catalog.pg_settings AS s
            WHERE s.name = 'search_path' AND NOT EXISTS (
                SELECT FROM setting
                WHERE setting.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
            )
            UNION ALL
            SELECT s.boot_val, 5, '' FROM pg_catalog.pg_settings AS s WHERE s.name = 'search_path'
        ) AS every
        ORDER BY every.place, every.role
    LOOP
        CONTINUE WHEN given.place > 3 AND has_default;
        -- Read as the server reads it; schemas that are missing or closed to the owner drop out.
        PERFORM pg_catalog.set_config(
            'search_path', pg_catalog.regexp_replace(given.value, '"?\$user"?', 'pg_catalog', 'g'), true
        );
        schemas := ARRAY(
            SELECT s.name::text
            FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s (name, place)
            WHERE s.name::text !~ '^pg_'
            ORDER BY s.place
        );
        has_default := has_default OR (given.place >= 3 AND schemas <> '{}');
        found := found || ARRAY(
            SELECT s.name
            FROM pg_catalog.unnest(schemas) WITH ORDINALITY AS s (name, place)
            WHERE s.name <> ALL (found)
            ORDER BY s.place
        );
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    path := pg_catalog.array_to_string(
        ARRAY(
            SELECT pg_catalog.quote_ident(f.name)
            FROM pg_catalog.unnest(found) WITH ORDINALITY AS f (name, place)
            ORDER BY f.place
        ) || ARRAY['pg_temp'],
        ', '
    );
    -- A function, so that it is a constant wherever it is read.
    EXECUTE pg_catalog.format(
        'CREATE OR REPLACE FUNCTION tracks_posts_separation.deployment_path() RETURNS pg_catalog.text '
        'LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
        pg_catalog.format('SELECT %L::pg_catalog.text', path)
    );
    RETURN path;
END
$$;
SELECT tracks_posts_separation.record_deployment_path();

-- An index counts as present only when it is valid and says what we want (an aborted CONCURRENTLY leaves neither).
CREATE OR REPLACE FUNCTION tracks_posts_separation.clear_unusable_index(
    index_name text, VARIADIC wanted text[]
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present record;
BEGIN
    SELECT i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid) AS definition
    INTO present
    FROM pg_catalog.pg_index AS i
    WHERE i.indexrelid = pg_catalog.to_regclass(pg_catalog.format('public.%I', index_name));
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- An index under a name of ours was made by an earlier version: it is built anew.
    IF present.definition <> ALL (wanted) AND index_name NOT LIKE 'tracks\_posts\_separation\_%' THEN
        RAISE EXCEPTION 'the index public.% exists with another definition: %', index_name, present.definition
            USING HINT = pg_catalog.format(
                'Wanted is: %s. Rename the existing one (ALTER INDEX public.%I RENAME TO ...) and run again.',
                wanted[1], index_name
            );
    END IF;
    IF NOT present.indisvalid OR present.definition <> ALL (wanted) THEN
        EXECUTE pg_catalog.format('DROP INDEX public.%I', index_name);
    END IF;
END
$$;

-- step: settings of the plan, and what was here before us
DO $step$
DECLARE
    given text := nullif(pg_catalog.current_setting('tracks_posts_separation.migrated_tracks_are_public', true), '');
    kept text;
    answer boolean;
    replica_role boolean := false;
BEGIN
    SELECT value INTO kept FROM tracks_posts_separation.setting WHERE name = 'migrated_tracks_are_public';
    IF given IS NULL AND kept IS NULL THEN
        RAISE EXCEPTION 'the setting migrated_tracks_are_public is missing: are tracks made from posts public?'
            USING HINT = 'With the runner: migration_plan_settings in the inventory. With psql or the Supabase CLI: '
                'PGOPTIONS=''-c tracks_posts_separation.migrated_tracks_are_public=true'', or ALTER DATABASE ... SET '
                'tracks_posts_separation.migrated_tracks_are_public = true. There is no default: whether posts were '
                'meant for everybody is known to you only.';
    END IF;
    BEGIN
        answer := coalesce(given, kept)::boolean;
    EXCEPTION WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'the setting migrated_tracks_are_public is %, which is neither true nor false', given
            USING HINT = 'Give true or false: it becomes tracks.is_public of every track made from a post.';
    END;

    -- Whether the right exists is found by using it; the block's end puts the role back.
    BEGIN
        PERFORM pg_catalog.set_config('session_replication_role', 'replica', true);
        PERFORM pg_catalog.set_config('session_replication_role', 'origin', true);
        replica_role := true;
    EXCEPTION WHEN insufficient_privilege THEN
        replica_role := false;
    END;

    -- A run that was closed before it changed a table has noted what was here then: others may have deployed since.
    IF NOT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'tables_are_changed') THEN
        DELETE FROM tracks_posts_separation.existed_before;
        INSERT INTO tracks_posts_separation.existed_before (kind, name)
        SELECT 'column', c.relname || '.' || a.attname
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        WHERE NOT a.attisdropped
          AND (
              (a.attrelid = 'public.posts'::pg_catalog.regclass AND a.attname = 'track_id')
              OR (
                  a.attrelid = 'public.tracks'::pg_catalog.regclass
                  AND a.attname IN (
                      'file_size', 'mime_type', 'original_file_size', 'compression_ratio', 'compression_applied'
                  )
              )
          )
        UNION ALL
        SELECT 'constraint', conname
        FROM pg_catalog.pg_constraint
        WHERE conrelid IN ('public.posts'::pg_catalog.regclass, 'public.tracks'::pg_catalog.regclass)
          AND conname IN (
              'posts_track_id_fkey', 'audio_posts_must_have_track', 'tracks_file_size_check',
              'tracks_original_file_size_check', 'tracks_compression_ratio_check'
          )
        UNION ALL
        SELECT 'index', c.relname
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'public'::pg_catalog.regnamespace
          AND c.relname IN (
              'idx_posts_track_id', 'idx_tracks_user_id', 'idx_tracks_created_at', 'idx_tracks_is_public'
          )
        ON CONFLICT DO NOTHING;
    END IF;

    INSERT INTO tracks_posts_separation.setting (name, value)
    VALUES ('migrated_tracks_are_public', answer::text), ('replica_role', replica_role::text)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
END
$step$;

-- step: columns of tracks
-- lock: public.tracks ACCESS EXCLUSIVE
INSERT INTO tracks_posts_separation.setting (name, value) VALUES ('tables_are_changed', 'true')
ON CONFLICT (name) DO NOTHING;
ALTER TABLE public.tracks
    ADD COLUMN IF NOT EXISTS file_size integer,
    ADD COLUMN IF NOT EXISTS mime_type text,
    ADD COLUMN IF NOT EXISTS original_file_size integer,
    ADD COLUMN IF NOT EXISTS compression_ratio numeric(4, 2),
    ADD COLUMN IF NOT EXISTS compression_applied boolean DEFAULT false;

DO $step$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT name, rule
        FROM (VALUES
            ('tracks_file_size_check', 'file_size > 0'),
            ('tracks_original_file_size_check', 'original_file_size > 0'),
            ('tracks_compression_ratio_check', 'compression_ratio > 0')
        ) AS rules (name, rule)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint
            WHERE conrelid = 'public.tracks'::pg_catalog.regclass AND conname = name
        )
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE public.tracks ADD CONSTRAINT %I CHECK (%s) NOT VALID', wanted.name, wanted.rule);
    END LOOP;
END
$step$;

-- step: validate the checks of tracks
ALTER TABLE public.tracks
    VALIDATE CONSTRAINT tracks_file_size_check,
    VALIDATE CONSTRAINT tracks_original_file_size_check,
    VALIDATE CONSTRAINT tracks_compression_ratio_check;

-- step: column posts.track_id
-- lock: public.posts ACCESS EXCLUSIVE
ALTER TABLE public.posts ADD COLUMN IF NOT EXISTS track_id uuid;

-- step: clear unusable indexes of an earlier attempt
SELECT
    tracks_posts_separation.clear_unusable_index(
        'idx_posts_track_id', 'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
    ),
    tracks_posts_separation.clear_unusable_index(
        'tracks_posts_separation_tracks_file',
        'CREATE INDEX tracks_posts_separation_tracks_file ON public.tracks USING btree'
        ' (user_id, hashtextextended((file_url COLLATE "C"), (0)::bigint))'
    ),
    tracks_posts_separation.clear_unusable_index(
        'tracks_posts_separation_posts_file',
        'CREATE INDEX tracks_posts_separation_posts_file ON public.posts USING btree'
        ' (user_id, hashtextextended((audio_url COLLATE "C"), (0)::bigint)) WHERE (post_type = ''audio''::text)'
    );

-- step: index idx_posts_track_id
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

-- step: index for the triggers: tracks by user and file
-- A hash of eight bytes: a third of the size of md5's text, and compared as a number. COLLATE "C", here and wherever files
-- are compared: two addresses are one file only when their bytes are the same, whatever the column's collation says.
CREATE INDEX CONCURRENTLY IF NOT EXISTS tracks_posts_separation_tracks_file
    ON public.tracks (user_id, pg_catalog.hashtextextended(file_url COLLATE "C", 0));

-- step: index for the triggers: audio posts by user and file
CREATE INDEX CONCURRENTLY IF NOT EXISTS tracks_posts_separation_posts_file
    ON public.posts (user_id, pg_catalog.hashtextextended(audio_url COLLATE "C", 0)) WHERE post_type = 'audio';

-- step: foreign key posts_track_id_fkey, not validated yet
-- lock: public.posts SHARE ROW EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- ON DELETE NO ACTION: SET NULL would collide with audio_posts_must_have_track, CASCADE would delete posts.
DO $step$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'posts_track_id_fkey'
    ) THEN
        ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
            FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID;
    END IF;
END
$step$;

-- step: let posts_audio_fields_check accept posts of the new application
-- lock: public.posts ACCESS EXCLUSIVE
-- Older deployments carry it: an audio post needs audio_url. The new application writes track_id instead.
DO $step$
DECLARE
    present record;
BEGIN
    SELECT
        tracks_posts_separation.constraint_definition(conrelid, conname) AS definition,
        convalidated,
        pg_catalog.obj_description(oid, 'pg_constraint') AS remark
    INTO present
    FROM pg_catalog.pg_constraint
    WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'posts_audio_fields_check' AND contype = 'c';
    IF NOT FOUND OR EXISTS (
        SELECT FROM tracks_posts_separation.replaced WHERE kind = 'check' AND name = 'posts_audio_fields_check'
    ) THEN
        RETURN;
    END IF;
    INSERT INTO tracks_posts_separation.replaced (kind, name, definition, was_valid, remark)
    VALUES ('check', 'posts_audio_fields_check', present.definition, present.convalidated, present.remark);
    ALTER TABLE public.posts DROP CONSTRAINT posts_audio_fields_check;
    -- CHECK (rule) and its options (NO INHERIT, NOT ENFORCED), which stay.
    EXECUTE pg_catalog.format(
        'ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check %s NOT VALID',
        pg_catalog.regexp_replace(
            present.definition,
            '^CHECK \((.*)\)((?: NO INHERIT)?(?: NOT ENFORCED)?)$',
            'CHECK ((\1) OR (post_type = ''audio'' AND track_id IS NOT NULL))\2'
        )
    );
    EXECUTE pg_catalog.format(
        'COMMENT ON CONSTRAINT posts_audio_fields_check ON public.posts IS %L', present.remark
    );
END
$step$;

-- step: validate the relaxed posts_audio_fields_check
DO $step$
BEGIN
    IF EXISTS (
        SELECT FROM tracks_posts_separation.replaced
        WHERE kind = 'check' AND name = 'posts_audio_fields_check' AND was_valid
          AND definition NOT LIKE '% NOT ENFORCED'
    ) THEN
        ALTER TABLE public.posts VALIDATE CONSTRAINT posts_audio_fields_check;
    END IF;
END
$step$;

-- step: functions of the compatibility triggers
-- One place that says what a post's track looks like: the triggers and the backfill read it.
-- A size or duration of 0 and a title over 255 characters are found before the run; later ones must not stop a post.
CREATE OR REPLACE FUNCTION tracks_posts_separation.look_of_track(
    file_name text, post_duration integer, post_file_size integer, post_created_at timestamptz
) RETURNS TABLE (title text, duration integer, file_size integer)
LANGUAGE sql STABLE
AS $$
    SELECT
        coalesce(
            nullif(pg_catalog.left(pg_catalog.btrim(file_name, E' \t\r\n'), 255), ''),
            'Audio from ' || coalesce(
                pg_catalog.to_char(pg_catalog.timezone('UTC', post_created_at), 'YYYY-MM-DD'), post_created_at::text
            )
        ),
        CASE WHEN post_duration > 0 THEN post_duration END,
        CASE WHEN post_file_size > 0 THEN post_file_size END
$$;

CREATE OR REPLACE VIEW tracks_posts_separation.track_of_post AS
SELECT
    p.id AS post_id,
    p.user_id,
    look.title,
    p.content AS description,
    p.audio_url AS file_url,
    look.duration,
    look.file_size,
    p.audio_mime_type AS mime_type,
    (SELECT value::boolean FROM tracks_posts_separation.setting WHERE name = 'migrated_tracks_are_public') AS is_public,
    p.created_at,
    p.updated_at
FROM public.posts AS p
CROSS JOIN LATERAL tracks_posts_separation.look_of_track(
    p.audio_filename, p.audio_duration, p.audio_file_size, p.created_at
) AS look;

-- The first byte decides for almost every text (blanks sort before '!' in every encoding): btrim looks at all characters.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_blank(given text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce(given COLLATE "C" < '!' AND pg_catalog.btrim(given COLLATE "C", E' \t\r\n') = '', true) $$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.run_id() RETURNS text
LANGUAGE sql STABLE
AS $$ SELECT nullif(pg_catalog.current_setting('runbook.run_id', true), '') $$;

-- Whoever decides about the track of (user, file) holds this lock until its transaction ends: one of 1024 rows. Rows of the
-- helper schema, not advisory locks: any session could take those, and keep every other from posting.
CREATE OR REPLACE FUNCTION tracks_posts_separation.file_key(owner uuid, file text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.hashtext((owner::text || ' ' || file) COLLATE "C") & 1023 $$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_slots(of_kind text, numbers integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    wanted bigint;
    locked bigint;
BEGIN
    SELECT pg_catalog.count(DISTINCT u.n) INTO wanted FROM pg_catalog.unnest(numbers) AS u (n) WHERE u.n IS NOT NULL;
    IF wanted = 0 THEN
        RETURN;
    END IF;
    -- In one order everywhere, or two sessions wait for each other.
    PERFORM FROM tracks_posts_separation.lock_slot AS s
    WHERE s.kind = of_kind AND s.number = ANY (numbers)
    ORDER BY s.kind, s.number
    FOR NO KEY UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked <> wanted THEN
        RAISE EXCEPTION 'rows are missing in tracks_posts_separation.lock_slot (kind %)', of_kind
            USING HINT = 'INSERT INTO tracks_posts_separation.lock_slot SELECT kind, number FROM (VALUES (''file''), '
                '(''entry'')) AS k (kind), generate_series(0, 1023) AS number ON CONFLICT DO NOTHING;';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_files(keys integer[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT tracks_posts_separation.lock_slots('file', keys) $$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.is_made_by_us(track uuid, owner uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track WHERE track_id = track)
        AND (
            EXISTS (SELECT FROM public.posts WHERE id = track AND user_id = owner)
            OR EXISTS (SELECT FROM tracks_posts_separation.deleted_post WHERE post_id = track AND user_id = owner)
            OR EXISTS (
                SELECT FROM tracks_posts_separation.track_under_other_id WHERE track_id = track AND user_id = owner
            )
        )
$$;

-- The post that a track of the same user was made from keeps it up to date; reposts do not.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_named_after(track uuid, post uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN track = post
        THEN NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track WHERE track_id = track)
        ELSE EXISTS (
            SELECT FROM tracks_posts_separation.track_under_other_id AS o
            JOIN public.posts AS p ON p.id = o.post_id AND p.user_id = o.user_id
            WHERE o.track_id = track AND o.post_id = post
        )
    END
$$;

-- AFTER INSERT, or when an id changes, on both tables: a track and a post that have the same id and were not made by us.
-- AFTER UPDATE of tracks also: an edit that leaves updated_at as it was, or sets it back.
CREATE OR REPLACE FUNCTION tracks_posts_separation.note_uploaded_track() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_RELID = 'public.tracks'::pg_catalog.regclass THEN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.updated_at <= OLD.updated_at THEN
                INSERT INTO tracks_posts_separation.edited_track (track_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
            END IF;
            IF NEW.id = OLD.id THEN
                RETURN NULL;
            END IF;
        END IF;
        IF EXISTS (SELECT FROM public.posts AS p WHERE p.id = NEW.id) THEN
            INSERT INTO tracks_posts_separation.uploaded_track (track_id, came_first) VALUES (NEW.id, false)
            ON CONFLICT (track_id) DO UPDATE SET came_first = excluded.came_first;
        END IF;
    ELSIF EXISTS (
        SELECT
        FROM public.tracks AS t
        WHERE t.id = NEW.id
          -- A track whose post was deleted, or that we gave an id of its own.
          AND NOT EXISTS (
              SELECT FROM tracks_posts_separation.deleted_post AS d WHERE d.post_id = t.id AND d.user_id = t.user_id
          )
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.track_under_other_id AS o WHERE o.track_id = t.id)
    ) THEN
        INSERT INTO tracks_posts_separation.uploaded_track (track_id, came_first) VALUES (NEW.id, true)
        ON CONFLICT (track_id) DO UPDATE SET came_first = excluded.came_first;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.playlists_reference_tracks() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'playlists_reference_tracks') $$;

-- While posts.track_id is filled it has neither index nor key (migration 2), and a stand-in keeps the key's promise.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_filling() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'fill_without_index') $$;

-- Whether a post, other than the one given, points at the track of (owner, file). The caller holds a lock that keeps
-- others from doing so meanwhile. During the fill posts are found by the file that they share with their track; where
-- one that does not was ever written (keep_tracks_of_posts, follow_post), by its user.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_used(
    track uuid, owner uuid, file text, other_than uuid
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT tracks_posts_separation.is_filling() THEN
        RETURN EXISTS (SELECT FROM public.posts WHERE track_id = track AND id IS DISTINCT FROM other_than);
    END IF;
    -- (track_id = track) IS TRUE: an index on track_id that is being built must not be chosen.
    RETURN EXISTS (
        SELECT
        FROM public.posts AS p
        WHERE p.user_id = owner
          AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0) = pg_catalog.hashtextextended(file COLLATE "C", 0)
          AND p.audio_url COLLATE "C" = file COLLATE "C"
          AND p.post_type = 'audio'
          AND (p.track_id = track) IS TRUE
          AND p.id IS DISTINCT FROM other_than
    ) OR (
        EXISTS (
            SELECT
            FROM tracks_posts_separation.setting
            WHERE name = 'posts_of_other_files' OR (name = 'fill_without_index' AND value <> 'true')
        )
        AND EXISTS (
            SELECT
            FROM public.posts AS p
            WHERE p.user_id = owner AND (p.track_id = track) IS TRUE AND p.id IS DISTINCT FROM other_than
        )
    );
END
$$;

-- Said once, during the fill: from here on a post may point at a track of another file than its own.
CREATE OR REPLACE FUNCTION tracks_posts_separation.expect_posts_of_other_files() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO tracks_posts_separation.setting (name, value)
    VALUES ('posts_of_other_files', 'true')
    ON CONFLICT (name) DO NOTHING
$$;

-- The stand-in for posts_track_id_fkey on the side of tracks: after the statement, as the key looks, with its words.
CREATE OR REPLACE FUNCTION tracks_posts_separation.keep_tracks_of_posts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'cannot truncate a table referenced in a foreign key constraint'
            USING ERRCODE = 'feature_not_supported',
                DETAIL = 'Table "posts" references "tracks".',
                HINT = 'Truncate table "posts" at the same time, or use TRUNCATE ... CASCADE.';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.id = OLD.id THEN
        IF NEW.file_url COLLATE "C" <> OLD.file_url COLLATE "C"
            AND tracks_posts_separation.is_used(OLD.id, OLD.user_id, OLD.file_url, NULL)
        THEN
            PERFORM tracks_posts_separation.expect_posts_of_other_files();
        END IF;
        RETURN NULL;
    END IF;
    IF tracks_posts_separation.is_used(OLD.id, OLD.user_id, OLD.file_url, NULL) THEN
        RAISE EXCEPTION
            'update or delete on table "tracks" violates foreign key constraint "posts_track_id_fkey" on table "posts"'
            USING ERRCODE = 'foreign_key_violation',
                DETAIL = pg_catalog.format('Key (id)=(%s) is still referenced from table "posts".', OLD.id),
                SCHEMA = 'public', TABLE = 'posts', CONSTRAINT = 'posts_track_id_fkey';
    END IF;
    RETURN NULL;
END
$$;

-- Below, a row that is looked up by its id is compared with IS NOT DISTINCT FROM, which no index serves: with old
-- statistics the planner would rather read all tracks of the user.

-- The track that (owner, file) already has, or will have when the backfill gets there; null when there is none.
-- The caller holds file_key(owner, file). Volatile: every query must see what was committed while it waited.
CREATE OR REPLACE FUNCTION tracks_posts_separation.known_track(asking_post uuid, owner uuid, file text) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answer uuid;
BEGIN
    -- Another post of this file, also one of the same statement, whose track is not made yet.
    SELECT p.track_id INTO answer
    FROM public.posts AS p
    LEFT JOIN public.tracks AS t ON t.id = p.track_id
    WHERE p.user_id = owner
      AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0) = pg_catalog.hashtextextended(file COLLATE "C", 0)
      AND p.audio_url COLLATE "C" = file COLLATE "C"
      AND p.post_type = 'audio'
      -- Written so that no index on track_id fits: before statistics know better it looks empty, and is read whole.
      AND (p.track_id IS NOT NULL) IS TRUE
      AND p.id <> asking_post
      AND (t.id IS NULL OR (t.user_id = owner AND t.file_url COLLATE "C" = file COLLATE "C"))
    ORDER BY p.created_at, p.id
    LIMIT 1;
    IF FOUND THEN
        RETURN answer;
    END IF;
    -- Once the exceptions are listed, a post that is none of them will take its own id, whatever is uploaded since.
    IF EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'exceptions_are_listed') THEN
        SELECT p.id INTO answer
        FROM public.posts AS p
        WHERE p.user_id = owner
          AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0) = pg_catalog.hashtextextended(file COLLATE "C", 0)
          AND p.audio_url COLLATE "C" = file COLLATE "C"
          AND p.post_type = 'audio'
          AND (p.track_id IS NULL) IS TRUE
          AND p.id <> asking_post
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.exception AS e WHERE e.post_id = p.id)
        ORDER BY p.created_at, p.id
        LIMIT 1;
        IF FOUND AND NOT EXISTS (
            SELECT FROM public.tracks AS t
            WHERE t.id = answer AND (t.user_id, t.file_url COLLATE "C") IS DISTINCT FROM (owner, file COLLATE "C")
        ) THEN
            RETURN answer;
        END IF;
    END IF;
    SELECT t.id INTO answer
    FROM public.tracks AS t
    WHERE t.user_id = owner
      AND pg_catalog.hashtextextended(t.file_url COLLATE "C", 0) = pg_catalog.hashtextextended(file COLLATE "C", 0)
      AND t.file_url COLLATE "C" = file COLLATE "C"
    ORDER BY t.created_at, t.id
    LIMIT 1;
    IF FOUND THEN
        RETURN answer;
    END IF;
    -- The earliest post that the backfill has not reached: its track will carry its id.
    SELECT p.id INTO answer
    FROM public.posts AS p
    WHERE p.user_id = owner
      AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0) = pg_catalog.hashtextextended(file COLLATE "C", 0)
      AND p.audio_url COLLATE "C" = file COLLATE "C"
      AND p.post_type = 'audio'
      AND (p.track_id IS NULL) IS TRUE
    ORDER BY p.created_at, p.id
    LIMIT 1;
    IF FOUND AND NOT EXISTS (SELECT FROM public.tracks WHERE id = answer) THEN
        RETURN answer;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.free_track_id(post uuid) RETURNS uuid
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM public.tracks WHERE id = post) THEN pg_catalog.gen_random_uuid()
        ELSE post
    END
$$;

-- The types whose values a JSON document holds exactly. It changes others: it drops the white space and the repeated keys of
-- json, the lower bounds of arrays and the sign of -0; it names objects by the search_path of the session.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_exact_in_json(of_type oid, kind "char") RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
    SELECT kind OPERATOR(pg_catalog.=) 'e' OR of_type OPERATOR(pg_catalog.=) ANY (
        '{boolean,smallint,integer,bigint,numeric,text,varchar,bpchar,uuid,bytea,date,timestamp,timestamptz,time}'
        ::pg_catalog.regtype[]
    )
$$;

-- Whether to_jsonb() and jsonb_populate_record() serve for rows of this table. For statements over many rows: faster.
CREATE OR REPLACE FUNCTION tracks_posts_separation.rows_are_exact_in_json(of_table pg_catalog.regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (
        SELECT
        FROM pg_attribute AS a
        JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped
          AND NOT tracks_posts_separation.is_exact_in_json(t.oid, t.typtype)
    )
$$;

-- A row as the archive keeps it: values of the types above as JSON, others as their text, written and read under the same
-- settings. (format() calls the output function of a type; its cast to text may be another.)
CREATE OR REPLACE FUNCTION tracks_posts_separation.row_document(entry anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 3 SET lc_monetary = 'C'
AS $$
DECLARE
    document jsonb;
BEGIN
    EXECUTE (
        SELECT pg_catalog.format(
            'SELECT pg_catalog.jsonb_object_agg(c.name, c.value) FROM (VALUES %s) AS c (name, value)',
            pg_catalog.string_agg(pg_catalog.format(
                CASE
                    WHEN tracks_posts_separation.is_exact_in_json(c.oid, c.typtype)
                    THEN '(%L, pg_catalog.to_jsonb(($1).%I))'
                    ELSE '(%L, CASE WHEN pg_catalog.num_nulls(($1).%2$I) = 0 THEN '
                        'pg_catalog.to_jsonb(pg_catalog.format(''%%s'', ($1).%2$I)) END)'
                END, a.attname, a.attname
            ), ', ')
        )
        FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_catalog.pg_type AS c ON c.oid = a.atttypid
        WHERE t.oid = pg_catalog.pg_typeof(entry)
    ) INTO document USING entry;
    RETURN document;
END
$$;

-- The row of such a document, of the type of the first argument. A column that the document lacks is null.
CREATE OR REPLACE FUNCTION tracks_posts_separation.document_row(of_type anyelement, document jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET lc_monetary = 'C' SET xmloption = 'content'
AS $$
DECLARE
    row_text text := (
        SELECT '(' || pg_catalog.string_agg(
            coalesce('"' || pg_catalog.regexp_replace(document ->> a.attname, '(["\\])', '\1\1', 'g') || '"', ''),
            ',' ORDER BY a.attnum
        ) || ')'
        FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE t.oid = pg_catalog.pg_typeof(of_type)
    );
BEGIN
    EXECUTE pg_catalog.format(
        'SELECT (r.whole).* FROM (SELECT $1::%s AS whole OFFSET 0) AS r', pg_catalog.pg_typeof(of_type)
    ) INTO of_type USING row_text;
    RETURN of_type;
END
$$;

-- The columns of a table that an archived row lacks, because they were added later: an INSERT leaves them to their default.
CREATE OR REPLACE FUNCTION tracks_posts_separation.columns_added_since(of_table pg_catalog.regclass, document jsonb)
RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(
        SELECT a.attname::text
        FROM pg_attribute AS a
        WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped AND NOT document ? a.attname::text
        ORDER BY a.attname
    )
$$;

-- The command that puts whole rows ($1, an array of them) into a table: all columns but those that the server computes and
-- those that came after the rows were archived. A column that has become required since gets its default.
CREATE OR REPLACE FUNCTION tracks_posts_separation.insert_rows(
    into_table pg_catalog.regclass, added_since text[] DEFAULT '{}'
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT pg_catalog.format(
            'INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM pg_catalog.unnest($1) AS r',
            into_table,
            pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum),
            pg_catalog.string_agg(
                CASE
                    WHEN a.attnotnull AND a.attidentity <> '' THEN pg_catalog.format(
                        'coalesce(r.%I, pg_catalog.nextval(%L))', a.attname,
                        pg_catalog.pg_get_serial_sequence(into_table::text, a.attname)
                    )
                    WHEN a.attnotnull AND d.adbin IS NOT NULL THEN pg_catalog.format(
                        'coalesce(r.%I, %s)', a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                    )
                    ELSE pg_catalog.format('r.%I', a.attname)
                END,
                ', ' ORDER BY a.attnum
            )
        )
        FROM pg_catalog.pg_attribute AS a
        LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = into_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          AND a.attname::text <> ALL (added_since)
    );
END
$$;

-- Tracks that an earlier rollback archived come back whole (title, genre, play_count), but for what the application has
-- changed since in the post that they are named after. A file name that the rollback made up was no title before it.
CREATE OR REPLACE FUNCTION tracks_posts_separation.bring_back_tracks(tracks uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    back public.tracks[];
    added_since text[];
    all_columns text[] := tracks_posts_separation.columns_added_since('public.tracks', '{}');
    is_exact boolean := tracks_posts_separation.rows_are_exact_in_json('public.tracks');
BEGIN
    FOR back, added_since IN
        WITH taken AS (
            DELETE FROM tracks_posts_separation.archive AS a
            USING (
                SELECT newest.id
                FROM pg_catalog.unnest(tracks) AS wanted (id)
                -- One at a time, or the planner, which knows nothing of row_data, would read all rows of this reason; + 0, or it
                -- would look for the newest through the whole archive.
                CROSS JOIN LATERAL (
                    SELECT found.id
                    FROM tracks_posts_separation.archive AS found
                    WHERE found.reason = 'reverted_track' AND (found.row_data ->> 'id')::uuid = wanted.id
                    ORDER BY found.id + 0 DESC
                    LIMIT 1
                ) AS newest
                OFFSET 0
            ) AS newest
            WHERE a.id = newest.id
              AND EXISTS (SELECT FROM public.profiles AS u WHERE u.id = (a.row_data ->> 'user_id')::uuid)
              AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = (a.row_data ->> 'id')::uuid)
            RETURNING a.row_data, coalesce(a.row_data ->> 'named_after', a.row_data ->> 'id')::uuid AS post_id
        )
        SELECT pg_catalog.array_agg(track), lacks.columns
        FROM taken
        LEFT JOIN tracks_posts_separation.track_of_post AS v
            ON v.post_id = taken.post_id AND v.user_id = (taken.row_data ->> 'user_id')::uuid
        LEFT JOIN public.posts AS p ON p.id = taken.post_id AND p.user_id = (taken.row_data ->> 'user_id')::uuid
        CROSS JOIN LATERAL (
            SELECT coalesce(pg_catalog.jsonb_object_agg(c.name, c.value), '{}') AS columns
            FROM (VALUES
                ('title', pg_catalog.to_jsonb(v.title), 'audio_filename', p.audio_filename),
                ('description', pg_catalog.to_jsonb(v.description), 'content', p.content),
                ('file_url', pg_catalog.to_jsonb(v.file_url), 'audio_url', p.audio_url),
                ('mime_type', pg_catalog.to_jsonb(v.mime_type), 'audio_mime_type', p.audio_mime_type),
                ('file_size', pg_catalog.to_jsonb(v.file_size), 'audio_file_size', p.audio_file_size::text),
                ('duration', pg_catalog.to_jsonb(v.duration), 'audio_duration', p.audio_duration::text),
                -- As when a post is edited (follow_post): a track that was newer than its post was edited itself, and stays so.
                ('updated_at', pg_catalog.to_jsonb(CASE
                    -- Without an own time in the archive the post's was that of the track.
                    WHEN (taken.row_data ->> 'updated_at')::timestamptz > (taken.row_data -> 'post' ->> 'updated_at')::timestamptz
                    THEN greatest(
                        (taken.row_data ->> 'updated_at')::timestamptz, v.updated_at + interval '1 microsecond'
                    )
                    ELSE v.updated_at
                END), 'updated_at', pg_catalog.to_jsonb(p.updated_at) #>> '{}')
            ) AS c (name, value, of_post, now)
            WHERE p.id IS NOT NULL
              AND taken.row_data ? 'post'
              AND (CASE
                  WHEN taken.row_data -> 'post' ? c.of_post THEN taken.row_data -> 'post' ->> c.of_post
                  ELSE taken.row_data ->> c.name
              END) COLLATE "C" IS DISTINCT FROM c.now COLLATE "C"
              AND (c.name <> 'file_url' OR NOT tracks_posts_separation.is_blank(c.now COLLATE "C"))
        ) AS changed
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN is_exact
                THEN pg_catalog.jsonb_populate_record(NULL::public.tracks, taken.row_data || changed.columns)
                ELSE tracks_posts_separation.document_row(NULL::public.tracks, taken.row_data || changed.columns)
            END AS track
            OFFSET 0
        ) AS whole
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN taken.row_data ?& all_columns THEN '{}'
                ELSE tracks_posts_separation.columns_added_since('public.tracks', taken.row_data)
            END AS columns
        ) AS lacks
        GROUP BY lacks.columns
    LOOP
        PERFORM
            pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
            pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
        EXECUTE tracks_posts_separation.insert_rows('public.tracks', added_since) || ' ON CONFLICT (id) DO NOTHING' USING back;
        PERFORM
            pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
            pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'off', true);
        INSERT INTO tracks_posts_separation.edited_track (track_id)
        SELECT b.id
        FROM pg_catalog.unnest(back) AS b
        JOIN tracks_posts_separation.track_of_post AS v ON v.post_id = b.id AND v.user_id = b.user_id
        WHERE b.updated_at <= v.updated_at
          AND (
              b.title COLLATE "C", b.description COLLATE "C", b.file_url COLLATE "C", b.duration, b.file_size,
              b.mime_type COLLATE "C", b.created_at
          ) IS DISTINCT FROM (
              v.title COLLATE "C", v.description COLLATE "C", v.file_url COLLATE "C", v.duration, v.file_size,
              v.mime_type COLLATE "C", v.created_at
          )
        ON CONFLICT DO NOTHING;
    END LOOP;
END
$$;

-- Makes the track that was decided for a post, from the post it is named after.
CREATE OR REPLACE FUNCTION tracks_posts_separation.make_track(track uuid, for_post uuid, owner uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source uuid := for_post;
    named_after_post boolean;
BEGIN
    SELECT EXISTS (SELECT FROM public.posts WHERE id = track AND user_id IS NOT DISTINCT FROM owner) INTO named_after_post;
    IF named_after_post THEN
        source := track;
    END IF;
    -- The upload that had this id is gone.
    DELETE FROM tracks_posts_separation.uploaded_track WHERE track_id = track;
    -- What a rollback archived of this user and file came under an id that another user's track has now: it takes this one.
    IF EXISTS (SELECT FROM tracks_posts_separation.archive WHERE reason = 'reverted_track') THEN
        UPDATE tracks_posts_separation.archive AS a
        SET row_data = a.row_data || pg_catalog.jsonb_build_object('id', track, 'named_after', kept.post_id)
        FROM (
            SELECT found.id, p.id AS post_id
            FROM public.posts AS asking
            JOIN public.posts AS p
                ON p.user_id = asking.user_id
                AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0)
                    = pg_catalog.hashtextextended(asking.audio_url COLLATE "C", 0)
                AND p.audio_url COLLATE "C" = asking.audio_url COLLATE "C"
            LEFT JOIN tracks_posts_separation.track_under_other_id AS o ON o.post_id = p.id AND o.user_id = p.user_id
            JOIN public.tracks AS t ON t.id = coalesce(o.track_id, p.id) AND t.user_id <> p.user_id
            CROSS JOIN LATERAL (
                SELECT a.id
                FROM tracks_posts_separation.archive AS a
                WHERE a.reason = 'reverted_track'
                  AND (a.row_data ->> 'id')::uuid = t.id
                  AND (a.row_data ->> 'user_id')::uuid = p.user_id
                ORDER BY a.id + 0 DESC
                LIMIT 1
            ) AS found
            WHERE asking.id = for_post AND asking.user_id = owner
            ORDER BY p.created_at, p.id
            LIMIT 1
        ) AS kept
        WHERE a.id = kept.id
          AND NOT EXISTS (
              SELECT
              FROM tracks_posts_separation.archive AS own
              WHERE own.reason = 'reverted_track' AND (own.row_data ->> 'id')::uuid = track
          );
    END IF;
    PERFORM tracks_posts_separation.bring_back_tracks(ARRAY[track]);
    PERFORM
        pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
    INSERT INTO public.tracks (
        id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
        file_size, mime_type, original_file_size, compression_ratio, compression_applied
    )
    SELECT
        track, v.user_id, v.title, v.description, v.file_url, v.duration, v.is_public, v.created_at, v.updated_at,
        v.file_size, v.mime_type, v.file_size, 1.0, false
    FROM tracks_posts_separation.track_of_post AS v
    WHERE v.post_id = source AND v.user_id IS NOT DISTINCT FROM owner
    -- The backfill may be making it at this moment: this waits for it.
    ON CONFLICT (id) DO NOTHING;
    PERFORM
        pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'off', true);
    IF NOT EXISTS (SELECT FROM public.tracks WHERE id = track AND user_id IS NOT DISTINCT FROM owner) THEN
        RAISE EXCEPTION 'the track % cannot be made: the id belongs to another user''s track', track
            USING ERRCODE = 'unique_violation';
    END IF;
    IF NOT named_after_post THEN
        INSERT INTO tracks_posts_separation.track_under_other_id (track_id, post_id, user_id)
        VALUES (track, for_post, owner)
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

-- What an archived entry keeps of the one that stayed: a rollback brings it back while that is as it was.
CREATE OR REPLACE FUNCTION tracks_posts_separation.merged_into(kept uuid, track uuid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_catalog.jsonb_build_object('kept_entry', kept, 'kept_position', k.position, 'kept_track', track)
    FROM public.playlist_tracks AS k
    WHERE k.id = kept
$$;

-- The post that an entry named before it was pointed at this track; null where none was recorded.
CREATE OR REPLACE FUNCTION tracks_posts_separation.recorded_post(entry uuid, track uuid) RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (a.row_data ->> 'track_id')::uuid
    FROM tracks_posts_separation.archive AS a
    WHERE a.reason = 'entry_repointed'
      AND (a.row_data ->> 'id')::uuid = entry
      AND (a.row_data ->> 'new_track_id')::uuid = track
    -- + 0: found by the entry, not through the whole archive from its end.
    ORDER BY a.id + 0 DESC
    LIMIT 1
$$;

-- Entries of one track become entries of another; where a playlist holds both, the one with the lower position stays.
CREATE OR REPLACE FUNCTION tracks_posts_separation.move_entries(old_track uuid, new_track uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    WITH ranked AS (
        SELECT e.id, pg_catalog.first_value(e.id) OVER same AS kept
        FROM public.playlist_tracks AS e
        WHERE e.track_id IN (old_track, new_track)
        WINDOW same AS (PARTITION BY e.playlist_id ORDER BY e.position, e.added_at, e.id)
    ),
    gone AS (
        DELETE FROM public.playlist_tracks AS e
        USING ranked
        WHERE ranked.id = e.id AND ranked.kept <> e.id
        RETURNING
            tracks_posts_separation.row_document(e) || tracks_posts_separation.merged_into(ranked.kept, new_track) AS row_data
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT 'entry_of_replaced_track', 'public.playlist_tracks', gone.row_data, tracks_posts_separation.run_id()
    FROM gone;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT
        'entry_repointed',
        'public.playlist_tracks',
        tracks_posts_separation.row_document(e) || pg_catalog.jsonb_build_object(
            'track_id', coalesce(tracks_posts_separation.recorded_post(e.id, old_track), old_track),
            'new_track_id', new_track
        ),
        tracks_posts_separation.run_id()
    FROM public.playlist_tracks AS e
    WHERE e.track_id = old_track;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    UPDATE public.playlist_tracks SET track_id = new_track WHERE track_id = old_track;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END
$$;

-- Puts archived entries back into their playlists, in this order: each, or the constraint that refuses it. Without
-- ON CONFLICT: a constraint that is deferrable, or one that excludes, cannot be its arbiter.
CREATE OR REPLACE FUNCTION tracks_posts_separation.put_entries_back(
    entries public.playlist_tracks[], added_since text[] DEFAULT '{}'
)
RETURNS TABLE (entry uuid, refused_by text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    command text := 'WITH back AS (' || tracks_posts_separation.insert_rows('public.playlist_tracks', added_since)
        || ' RETURNING id) SELECT pg_catalog.array_agg(id) FROM back';
    one public.playlist_tracks;
    ids uuid[];
    refused text;
BEGIN
    IF entries IS NULL THEN
        RETURN;
    END IF;
    -- A constraint that waits for the commit would refuse everything there. Here it speaks, as for what was written before.
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    -- Rows are returned behind their block: what a function has returned stays when the block is rolled back.
    BEGIN
        EXECUTE command INTO ids USING entries;
    EXCEPTION WHEN integrity_constraint_violation THEN
        ids := NULL;
        refused := '';      -- One of them: found one at a time, below.
    END;
    IF refused IS NULL THEN
        RETURN QUERY SELECT u.id, NULL::text FROM pg_catalog.unnest(ids) AS u (id);
    ELSE
        FOREACH one IN ARRAY entries LOOP
            BEGIN
                refused := NULL;
                EXECUTE command INTO ids USING ARRAY[one];
            EXCEPTION WHEN integrity_constraint_violation THEN
                GET STACKED DIAGNOSTICS refused = CONSTRAINT_NAME;
                ids := ARRAY[one.id];
            END;
            RETURN QUERY SELECT u.id, refused FROM pg_catalog.unnest(ids) AS u (id);
        END LOOP;
    END IF;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END
$$;

-- Whether the deletion of a track takes its entries along, as that of a post did before the key was swapped.
CREATE OR REPLACE FUNCTION tracks_posts_separation.entries_go_with_their_track() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT
        FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.tracks'::pg_catalog.regclass
          AND conname = 'playlist_tracks_track_id_fkey' AND confdeltype = 'c'
    )
$$;

-- A track that the migration made goes when its last post goes. Its playlist entries then meet what their key says, as when
-- it pointed at posts: they go along, or refuse. A post that became text never was refused: its entries go. A real upload
-- stays. The successor, where there is one, takes over the entries.
CREATE OR REPLACE FUNCTION tracks_posts_separation.release_track(
    track uuid, owner uuid, successor uuid, post_is_gone boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    file text;
    old_row jsonb;
BEGIN
    SELECT file_url INTO file FROM public.tracks WHERE id = track AND user_id IS NOT DISTINCT FROM owner;
    IF NOT FOUND OR NOT tracks_posts_separation.is_made_by_us(track, owner) THEN
        RETURN;
    END IF;
    -- Two sessions that delete the last two posts must see each other; then nobody may point at the track any more.
    PERFORM tracks_posts_separation.lock_files(ARRAY[tracks_posts_separation.file_key(owner, file)]);
    SELECT tracks_posts_separation.row_document(t) INTO old_row
    FROM public.tracks AS t
    WHERE t.id = track AND t.user_id IS NOT DISTINCT FROM owner
    FOR UPDATE;
    IF NOT FOUND
        OR tracks_posts_separation.is_used(track, owner, file, NULL)
        OR EXISTS (
            SELECT FROM public.posts
            WHERE id = track AND (user_id, audio_url COLLATE "C") IS NOT DISTINCT FROM (owner, file COLLATE "C")
              AND post_type = 'audio' AND track_id IS NULL
        )
    THEN
        RETURN;
    END IF;
    IF tracks_posts_separation.playlists_reference_tracks() THEN
        IF successor IS NOT NULL THEN
            PERFORM tracks_posts_separation.move_entries(track, successor);
        END IF;
        IF NOT post_is_gone OR tracks_posts_separation.entries_go_with_their_track() THEN
            INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
            SELECT
                'entry_of_deleted_track', 'public.playlist_tracks', tracks_posts_separation.row_document(e),
                tracks_posts_separation.run_id()
            FROM public.playlist_tracks AS e
            WHERE e.track_id = track;
        END IF;
    END IF;
    -- An account that goes leaves nothing behind, in the archive neither.
    IF EXISTS (SELECT FROM public.profiles WHERE id = owner) THEN
        INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
        VALUES ('track_without_post', 'public.tracks', old_row, tracks_posts_separation.run_id());
    END IF;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    IF NOT post_is_gone AND tracks_posts_separation.playlists_reference_tracks() THEN
        DELETE FROM public.playlist_tracks WHERE track_id = track;
    END IF;
    DELETE FROM public.tracks WHERE id = track;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    DELETE FROM tracks_posts_separation.track_under_other_id WHERE track_id = track;
END
$$;

-- BEFORE INSERT OR UPDATE: only decides. What is written here would stay behind an INSERT ... ON CONFLICT.
CREATE OR REPLACE FUNCTION tracks_posts_separation.decide_track_of_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_update boolean := TG_OP = 'UPDATE';
    given public.tracks;
    known uuid;
BEGIN
    IF is_update AND NEW.track_id = OLD.track_id AND NEW.post_type = OLD.post_type AND NEW.user_id = OLD.user_id
        AND NEW.audio_url COLLATE "C" IS NOT DISTINCT FROM OLD.audio_url COLLATE "C"
    THEN
        RETURN NEW;
    END IF;
    IF is_update AND NEW.post_type <> 'audio' AND OLD.post_type = 'audio' AND NEW.track_id = OLD.track_id THEN
        NEW.track_id := NULL;
    END IF;
    IF NEW.track_id IS NOT NULL AND NOT (is_update AND NEW.track_id IS NOT DISTINCT FROM OLD.track_id
        AND NEW.user_id = OLD.user_id)
    THEN
        -- The new application names the track.
        SELECT * INTO given FROM public.tracks WHERE id = NEW.track_id AND user_id = NEW.user_id;
        IF FOUND THEN
            IF NEW.post_type = 'audio' AND NOT tracks_posts_separation.is_blank(NEW.audio_url)
                AND NEW.audio_url COLLATE "C" <> given.file_url COLLATE "C"
            THEN
                -- The old application reads audio_url: it must play what the new one chose.
                NEW.audio_url := given.file_url;
                NEW.audio_filename := given.title;
                NEW.audio_mime_type := given.mime_type;
                NEW.audio_file_size := given.file_size;
                NEW.audio_duration := given.duration;
            END IF;
            RETURN NEW;
        END IF;
        -- A track that is none of the post's user, or none at all, is refused by follow_post: here row-level security has
        -- not spoken yet, and the answer would tell whose a private track is.
        IF NEW.track_id <> NEW.id OR EXISTS (SELECT FROM public.tracks WHERE id = NEW.track_id) THEN
            RETURN NEW;
        END IF;
        -- EXCLUDED of an upsert carries what was decided for the row that was not inserted: decide again.
        NEW.track_id := NULL;
    END IF;
    IF NEW.post_type <> 'audio' THEN
        IF is_update AND NOT tracks_posts_separation.is_blank(OLD.audio_url) THEN
            PERFORM tracks_posts_separation.lock_files(
                ARRAY[tracks_posts_separation.file_key(OLD.user_id, OLD.audio_url)]
            );
        END IF;
        RETURN NEW;
    END IF;
    -- Without a file there is nothing to make a track of; without a profile a track cannot exist.
    IF tracks_posts_separation.is_blank(NEW.audio_url)
        OR NOT EXISTS (SELECT FROM public.profiles WHERE id = NEW.user_id)
    THEN
        RETURN NEW;
    END IF;

    PERFORM tracks_posts_separation.lock_files(ARRAY[
        tracks_posts_separation.file_key(NEW.user_id, NEW.audio_url),
        CASE WHEN is_update THEN tracks_posts_separation.file_key(OLD.user_id, OLD.audio_url) END
    ]);
    known := tracks_posts_separation.known_track(NEW.id, NEW.user_id, NEW.audio_url);
    IF known IS NOT NULL THEN
        NEW.track_id := known;
    ELSIF is_update AND OLD.user_id = NEW.user_id
        AND tracks_posts_separation.is_named_after(OLD.track_id, OLD.id)
        AND NOT tracks_posts_separation.is_used(
            OLD.track_id, OLD.user_id, (SELECT t.file_url FROM public.tracks AS t WHERE t.id = OLD.track_id), OLD.id
        )
    THEN
        -- Nobody else uses it: the track follows its post to the new file, and playlists with it.
        NEW.track_id := OLD.track_id;
    ELSE
        NEW.track_id := tracks_posts_separation.free_track_id(NEW.id);
        IF NEW.track_id <> NEW.id THEN
            -- follow_post knows by it that nobody else named this track.
            PERFORM pg_catalog.set_config(
                'tracks_posts_separation.decided',
                pg_catalog.concat_ws(
                    ' ', pg_catalog.current_setting('tracks_posts_separation.decided', true), NEW.track_id
                ),
                true
            );
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- AFTER INSERT OR UPDATE: makes the track, keeps it in step with the post it is named after, lets go of the old one.
CREATE OR REPLACE FUNCTION tracks_posts_separation.follow_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_update boolean := TG_OP = 'UPDATE';
    file text;
    follows boolean;
    comes_back boolean := TG_OP = 'UPDATE' AND coalesce(OLD.track_id <> NEW.track_id, false);
    track_owner uuid;
    is_there boolean;
BEGIN
    IF NEW.track_id IS NOT NULL THEN
        SELECT t.user_id INTO track_owner FROM public.tracks AS t WHERE t.id = NEW.track_id;
        is_there := FOUND;
        IF (NOT is_update OR NEW.track_id IS DISTINCT FROM OLD.track_id OR NEW.user_id IS DISTINCT FROM OLD.user_id)
            AND (CASE
                WHEN is_there THEN track_owner IS DISTINCT FROM NEW.user_id
                -- Decided by us: the id of this post, or of another post of this file whose track is not made yet, or a new one.
                ELSE NEW.track_id <> NEW.id
                    AND NOT EXISTS (
                        SELECT
                        FROM public.posts AS p
                        WHERE p.id = NEW.track_id AND p.user_id = NEW.user_id
                          AND p.audio_url COLLATE "C" = NEW.audio_url COLLATE "C"
                    )
                    AND NEW.track_id::text <> ALL (pg_catalog.string_to_array(coalesce(
                        pg_catalog.current_setting('tracks_posts_separation.decided', true), ''
                    ), ' '))
            END)
        THEN
            RAISE EXCEPTION 'the track % is not a track of the post''s user', NEW.track_id
                USING ERRCODE = 'foreign_key_violation', TABLE = 'posts', COLUMN = 'track_id';
        END IF;
    END IF;
    IF NOT is_there THEN
        PERFORM tracks_posts_separation.make_track(NEW.track_id, NEW.id, NEW.user_id);
    ELSIF NEW.track_id IS NOT NULL AND tracks_posts_separation.is_filling() THEN
        -- What the key does on this side: the track stays until this transaction ends, or is gone.
        SELECT t.file_url INTO file FROM public.tracks AS t WHERE t.id = NEW.track_id FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'insert or update on table "posts" violates foreign key constraint "posts_track_id_fkey"'
                USING ERRCODE = 'foreign_key_violation',
                    DETAIL = pg_catalog.format('Key (track_id)=(%s) is not present in table "tracks".', NEW.track_id),
                    SCHEMA = 'public', TABLE = 'posts', CONSTRAINT = 'posts_track_id_fkey';
        END IF;
        -- A track that is named after this post follows it to its new file, below.
        follows := is_update AND coalesce(OLD.track_id = NEW.track_id, false)
            AND NOT tracks_posts_separation.is_blank(NEW.audio_url)
            AND tracks_posts_separation.is_named_after(NEW.track_id, NEW.id);
        IF NEW.post_type <> 'audio'
            OR (NEW.audio_url COLLATE "C" IS DISTINCT FROM file COLLATE "C" AND NOT follows)
        THEN
            PERFORM tracks_posts_separation.expect_posts_of_other_files();
        END IF;
    END IF;
    IF NOT is_update THEN
        RETURN NULL;
    END IF;
    -- Only what changed in the post changes in its track: the new application may have edited the rest. A track that the
    -- post left to its reposts and comes back to knows nothing of what changed meanwhile: all of it follows.
    IF NEW.track_id IS NOT NULL
        AND (
            OLD.content COLLATE "C", OLD.audio_url COLLATE "C", OLD.audio_filename COLLATE "C", OLD.audio_mime_type COLLATE "C",
            OLD.audio_file_size, OLD.audio_duration
        ) IS DISTINCT FROM (
            NEW.content COLLATE "C", NEW.audio_url COLLATE "C", NEW.audio_filename COLLATE "C", NEW.audio_mime_type COLLATE "C",
            NEW.audio_file_size, NEW.audio_duration
        )
        AND tracks_posts_separation.is_named_after(NEW.track_id, NEW.id)
    THEN
        PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
        UPDATE public.tracks AS t
        SET title = CASE WHEN whole.wanted OR NEW.audio_filename COLLATE "C" IS DISTINCT FROM OLD.audio_filename COLLATE "C" THEN v.title ELSE t.title END,
            description = CASE WHEN whole.wanted OR NEW.content COLLATE "C" IS DISTINCT FROM OLD.content COLLATE "C" THEN v.description ELSE t.description END,
            file_url = CASE
                WHEN NEW.audio_url COLLATE "C" IS DISTINCT FROM OLD.audio_url COLLATE "C" AND NOT tracks_posts_separation.is_blank(NEW.audio_url)
                THEN v.file_url ELSE t.file_url
            END,
            mime_type = CASE
                WHEN whole.wanted OR whole.other_file OR NEW.audio_mime_type COLLATE "C" IS DISTINCT FROM OLD.audio_mime_type COLLATE "C" THEN v.mime_type ELSE t.mime_type
            END,
            file_size = CASE
                WHEN whole.wanted OR whole.other_file OR NEW.audio_file_size IS DISTINCT FROM OLD.audio_file_size THEN v.file_size
                ELSE t.file_size
            END,
            original_file_size = CASE
                WHEN whole.wanted OR whole.other_file OR NEW.audio_file_size IS DISTINCT FROM OLD.audio_file_size THEN v.file_size
                ELSE t.original_file_size
            END,
            duration = CASE
                WHEN whole.wanted OR whole.other_file OR NEW.audio_duration IS DISTINCT FROM OLD.audio_duration THEN v.duration ELSE t.duration
            END,
            -- A track that was newer than its post stays newer: checks then know that its differences are wanted.
            updated_at = CASE
                WHEN t.updated_at > OLD.updated_at
                THEN greatest(t.updated_at, v.updated_at + interval '1 microsecond') ELSE v.updated_at
            END
        FROM tracks_posts_separation.track_of_post AS v
        CROSS JOIN LATERAL (
            SELECT comes_back AND present.updated_at <= OLD.updated_at AS wanted,
                -- Type, size and duration are the file's: those of the file before it must not stay.
                NEW.audio_url COLLATE "C" IS DISTINCT FROM OLD.audio_url COLLATE "C" AS other_file
            FROM public.tracks AS present
            WHERE present.id = NEW.track_id
        ) AS whole
        WHERE v.post_id = NEW.id AND t.id = NEW.track_id AND t.user_id IS NOT DISTINCT FROM NEW.user_id;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    ELSIF NEW.track_id IS NOT NULL
        AND NEW.updated_at > OLD.updated_at
        AND tracks_posts_separation.is_named_after(NEW.track_id, NEW.id)
    THEN
        -- Also where nothing changed in the post but its time: a track that was newer stays newer.
        PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
        UPDATE public.tracks AS t
        SET updated_at = NEW.updated_at + interval '1 microsecond'
        WHERE t.id = NEW.track_id AND t.user_id IS NOT DISTINCT FROM NEW.user_id
          AND t.updated_at > OLD.updated_at AND t.updated_at <= NEW.updated_at;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
    IF OLD.track_id IS NOT NULL AND NEW.track_id IS DISTINCT FROM OLD.track_id THEN
        PERFORM tracks_posts_separation.release_track(OLD.track_id, OLD.user_id, NEW.track_id, false);
    ELSIF OLD.track_id IS NULL AND NEW.track_id IS DISTINCT FROM OLD.id
        AND (NEW.post_type <> 'audio' OR NEW.audio_url COLLATE "C" IS DISTINCT FROM OLD.audio_url COLLATE "C")
    THEN
        -- A repost may have made the track of this post before the backfill reached it.
        PERFORM tracks_posts_separation.release_track(OLD.id, OLD.user_id, NEW.track_id, false);
    END IF;
    RETURN NULL;
END
$$;

-- AFTER DELETE: remembers which track the post had, and lets go of it.
CREATE OR REPLACE FUNCTION tracks_posts_separation.forget_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    track uuid := OLD.track_id;
BEGIN
    IF track IS NULL AND NOT tracks_posts_separation.is_blank(OLD.audio_url) THEN
        -- Not reached by the backfill: a repost may have made its track, or be making it now.
        PERFORM tracks_posts_separation.lock_files(
            ARRAY[tracks_posts_separation.file_key(OLD.user_id, OLD.audio_url)]
        );
        SELECT id INTO track FROM public.tracks WHERE id = OLD.id AND user_id IS NOT DISTINCT FROM OLD.user_id;
    END IF;
    IF track IS NULL OR OLD.user_id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO tracks_posts_separation.deleted_post (post_id, user_id, track_id)
    VALUES (OLD.id, OLD.user_id, track)
    ON CONFLICT (post_id, user_id) DO UPDATE SET track_id = excluded.track_id, deleted_at = excluded.deleted_at;
    PERFORM tracks_posts_separation.release_track(track, OLD.user_id, NULL, true);
    RETURN NULL;
END
$$;

-- Around an UPDATE of posts by a batch, and only there: no trigger of the table may see it (updated_at stays).
CREATE OR REPLACE FUNCTION tracks_posts_separation.quiet_posts(quiet boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'replica_role' AND value::boolean) THEN
        PERFORM pg_catalog.set_config('session_replication_role', CASE WHEN quiet THEN 'replica' ELSE 'origin' END, true);
    ELSE
        PERFORM pg_catalog.set_config('tracks_posts_separation.batch', CASE WHEN quiet THEN 'on' ELSE 'off' END, true);
    END IF;
END
$$;

-- Only a batch of the tables' owner is believed: any session can set the parameter.
CREATE OR REPLACE FUNCTION tracks_posts_separation.not_a_batch() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_catalog.format(
        '(pg_catalog.current_setting(''tracks_posts_separation.batch'', true) IS DISTINCT FROM ''on'''
        ' OR NOT pg_catalog.pg_has_role(%L, ''USAGE''))',
        pg_catalog.pg_get_userbyid(relowner)
    )
    FROM pg_catalog.pg_class
    WHERE oid = 'public.posts'::pg_catalog.regclass
$$;

-- Where the replica role is refused, the table's own triggers are made to keep quiet for a batch: once, by a condition,
-- from migration 1 to migration 4. They are never disabled: the application's writes go on.
CREATE OR REPLACE FUNCTION tracks_posts_separation.quiet_post_triggers(quiet boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present record;
    head text;
    tail text;
BEGIN
    IF NOT quiet THEN
        FOR present IN SELECT definition FROM tracks_posts_separation.replaced WHERE kind = 'trigger' LOOP
            EXECUTE pg_catalog.regexp_replace(present.definition, '^CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER');
        END LOOP;
        DELETE FROM tracks_posts_separation.replaced WHERE kind = 'trigger';
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'replica_role' AND value::boolean) THEN
        RETURN;
    END IF;
    FOR present IN
        SELECT tgname, pg_catalog.pg_get_triggerdef(oid) AS definition, tgqual IS NOT NULL AS has_condition
        FROM pg_catalog.pg_trigger
        WHERE tgrelid = 'public.posts'::pg_catalog.regclass
          AND NOT tgisinternal
          AND tgenabled = 'O'
          AND tgconstraint = 0
          AND tgtype::integer & 17 = 17      -- row level, and for UPDATE
          AND tgname NOT LIKE '%tracks\_posts\_separation%'
          AND NOT EXISTS (
              SELECT FROM tracks_posts_separation.replaced WHERE kind = 'trigger' AND name = tgname
          )
    LOOP
        INSERT INTO tracks_posts_separation.replaced (kind, name, definition)
        VALUES ('trigger', present.tgname, present.definition);
        head := pg_catalog.split_part(present.definition, ' EXECUTE FUNCTION ', 1);
        tail := pg_catalog.substr(present.definition, pg_catalog.length(head) + 1);
        IF present.has_condition THEN
            head := pg_catalog.replace(
                head, ' WHEN (', ' WHEN (' || tracks_posts_separation.not_a_batch() || ' AND ('
            ) || ')';
        ELSE
            head := head || ' WHEN (' || tracks_posts_separation.not_a_batch() || ')';
        END IF;
        EXECUTE pg_catalog.regexp_replace(head || tail, '^CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER');
    END LOOP;
END
$$;

-- A call for the whole table is for development databases: on a full one it would lock it for minutes.
CREATE OR REPLACE FUNCTION tracks_posts_separation.refuse_whole_table(rows_left bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF rows_left > tracks_posts_separation.whole_table_limit() THEN
        RAISE EXCEPTION 'more than % posts are left: too many for one transaction on a database in use',
            tracks_posts_separation.whole_table_limit()
            USING HINT = 'Run it in committed batches: ansible-playbook migrate.yml. On a database that nobody uses: '
                'PGOPTIONS=''-c tracks_posts_separation.whole_table_limit_rows=1000000000''.';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.whole_table_limit() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        nullif(pg_catalog.current_setting('tracks_posts_separation.whole_table_limit_rows', true), '')::bigint, 100000
    )
$$;

-- Whether no trigger need see that tracks are deleted by a batch: posts.track_id is the only key to them, which a batch
-- looks after itself, and nobody but the plan and the runner's log has a trigger there. Looked at in every batch.
CREATE OR REPLACE FUNCTION tracks_posts_separation.deletes_may_be_quiet() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'replica_role' AND value::boolean)
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = 'public.tracks'::pg_catalog.regclass
              AND NOT t.tgisinternal
              AND t.tgenabled <> 'D'
              AND t.tgtype::integer & 8 = 8      -- for DELETE
              AND t.tgname NOT LIKE 'runbook\_change\_log\_%'
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_constraint AS c
            WHERE c.confrelid = 'public.tracks'::pg_catalog.regclass
              AND c.contype = 'f'
              AND (c.conrelid, c.conkey) IS DISTINCT FROM (
                  'public.posts'::pg_catalog.regclass::oid,
                  (
                      SELECT ARRAY[attnum] FROM pg_catalog.pg_attribute
                      WHERE attrelid = 'public.posts'::pg_catalog.regclass AND attname = 'track_id'
                  )
              )
        );
END
$$;

-- The first posts of a range that have a track, in the order of their index whatever the statistics say: sorting a range
-- for its first posts takes longer than all that is done with them.
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

-- The tracks that the migration made: see is_made_by_us.
CREATE OR REPLACE FUNCTION tracks_posts_separation.made_tracks() RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT made.id
    FROM (
        SELECT t.id FROM public.tracks AS t JOIN public.posts AS p ON p.id = t.id AND p.user_id = t.user_id
        UNION
        SELECT t.id
        FROM public.tracks AS t
        JOIN tracks_posts_separation.deleted_post AS d ON d.post_id = t.id AND d.user_id = t.user_id
        UNION
        SELECT t.id
        FROM public.tracks AS t
        JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = t.id AND o.user_id = t.user_id
    ) AS made
    WHERE NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = made.id)
$$;

-- Foreign keys to a table that the plan does not look after itself. A reverse must not run into their actions.
-- With columns: only the keys that an update of these columns would make fail or set to null or to their default.
CREATE OR REPLACE FUNCTION tracks_posts_separation.keys_of_others(changed regclass, changed_columns name[] DEFAULT NULL)
RETURNS TABLE (child regclass, name name, action "char", match_condition text, is_readable boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        c.conrelid::pg_catalog.regclass,
        c.conname,
        CASE
            -- Keys that are NOT ENFORCED (PostgreSQL 18) do nothing.
            WHEN pg_catalog.to_jsonb(c) ->> 'conenforced' = 'false' THEN '-'
            WHEN changed_columns IS NULL THEN c.confdeltype
            ELSE c.confupdtype
        END,
        pair.match_condition,
        pair.is_readable
    FROM pg_catalog.pg_constraint AS c
    JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid
    CROSS JOIN LATERAL (
        SELECT
            pg_catalog.string_agg(
                pg_catalog.format('root.%I OPERATOR(%I.%s) child.%I', pa.attname, n.nspname, o.oprname, ca.attname),
                ' AND ' ORDER BY k.place
            ) AS match_condition,
            -- Row-level security would hide rows without a word.
            pg_catalog.has_schema_privilege(r.relnamespace, 'USAGE')
                AND NOT pg_catalog.row_security_active(c.conrelid)
                AND pg_catalog.bool_and(pg_catalog.has_column_privilege(c.conrelid, ca.attnum, 'SELECT')) AS is_readable,
            pg_catalog.array_agg(ca.attname) AS child_columns,
            pg_catalog.array_agg(pa.attname) AS parent_columns
        FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), pg_catalog.unnest(c.conpfeqop))
            WITH ORDINALITY AS k (child_number, parent_number, operator, place)
        JOIN pg_catalog.pg_attribute AS ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child_number
        JOIN pg_catalog.pg_attribute AS pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent_number
        JOIN pg_catalog.pg_operator AS o ON o.oid = k.operator
        JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
    ) AS pair
    WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = changed
      AND (c.conrelid, pair.child_columns)
          IS DISTINCT FROM ('public.posts'::pg_catalog.regclass::oid, ARRAY['track_id'::name])
      AND (changed_columns IS NULL OR (pair.parent_columns && changed_columns AND c.confupdtype <> 'c'))
$$;

-- Refuses to delete rows (with columns: to change these) while rows of other tables reference them: a reverse must
-- neither take rows of others with it nor leave them pointing at nothing. The caller has locked the rows, so nobody adds
-- a reference meanwhile. RB001 is how the runner knows it: from there it goes on in either direction.
CREATE OR REPLACE FUNCTION tracks_posts_separation.refuse_rows_of_others(
    changed regclass, ids uuid[], ids_query text, changed_columns name[] DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key record;
    referencing bigint;
    first_table regclass;
    first_key name;
    found text[] := '{}';
    statements text[] := '{}';
BEGIN
    IF coalesce(pg_catalog.cardinality(ids), 0) = 0 THEN
        RETURN;
    END IF;
    FOR key IN
        SELECT * FROM tracks_posts_separation.keys_of_others(changed, changed_columns) ORDER BY child::text, name
    LOOP
        referencing := NULL;
        IF key.is_readable THEN
            EXECUTE pg_catalog.format(
                'SELECT pg_catalog.count(*) FROM %s AS child JOIN %s AS root ON %s WHERE root.id = ANY ($1)',
                key.child, changed, key.match_condition
            ) INTO referencing USING ids;
        END IF;
        CONTINUE WHEN referencing = 0;
        first_table := coalesce(first_table, key.child);
        first_key := coalesce(first_key, key.name);
        found := found || pg_catalog.format(
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
            WHEN referencing IS NULL THEN pg_catalog.format(
                'as the owner of %s: GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT ON %s TO %I (where row-level security '
                'hides rows: a role with BYPASSRLS)',
                key.child, (SELECT relnamespace::pg_catalog.regnamespace FROM pg_catalog.pg_class WHERE oid = key.child),
                current_user, key.child, current_user
            )
            ELSE pg_catalog.format(
                'SELECT child.* FROM %s AS child JOIN %s AS root ON %s WHERE root.id IN (%s)',
                key.child, changed, pg_catalog.replace(key.match_condition, 'OPERATOR(pg_catalog.=)', '='), ids_query
            )
        END;
    END LOOP;
    IF first_table IS NOT NULL THEN
        RAISE EXCEPTION 'other tables reference rows of % that are to be %: %',
            changed, CASE WHEN changed_columns IS NULL THEN 'deleted' ELSE 'changed' END,
            pg_catalog.array_to_string(found, '; ')
            USING ERRCODE = 'RB001',
                HINT = pg_catalog.array_to_string(statements, '; '),
                SCHEMA = (
                    SELECT relnamespace::pg_catalog.regnamespace::text FROM pg_catalog.pg_class WHERE oid = first_table
                ),
                TABLE = (SELECT relname FROM pg_catalog.pg_class WHERE oid = first_table),
                CONSTRAINT = first_key;
    END IF;
END
$$;

-- Deletes those of these tracks that no post uses, each whole into the archive, with what its post says now (of a post
-- that says what its track says, only the name of its file): a later run takes it from there, but for what changes in
-- the post meanwhile.
CREATE OR REPLACE FUNCTION tracks_posts_separation.take_tracks(candidates uuid[], has_other_keys boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    run_id text := tracks_posts_separation.run_id();
    is_exact boolean := tracks_posts_separation.rows_are_exact_in_json('public.tracks');
BEGIN
    -- Before anybody looks whether a post uses them. Two batches with posts of one file come here one after the other, so
    -- that the second sees what the first has committed; and whoever references one of these tracks meanwhile waits, or
    -- is seen below.
    PERFORM FROM public.tracks AS t WHERE t.id = ANY (candidates) ORDER BY t.id FOR UPDATE;
    IF has_other_keys THEN
        PERFORM tracks_posts_separation.refuse_rows_of_others(
            'public.tracks',
            ARRAY(
                SELECT t.id
                FROM public.tracks AS t
                WHERE t.id = ANY (candidates) AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
            ),
            'SELECT tracks_posts_separation.made_tracks()'
        );
    END IF;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    WITH gone AS (
        DELETE FROM public.tracks AS t
        USING pg_catalog.unnest(candidates) AS c (id)
        WHERE t.id = c.id AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
        RETURNING t.*, t AS whole
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT
        'reverted_track',
        'public.tracks',
        CASE
            WHEN is_exact THEN pg_catalog.to_jsonb(gone.whole)
            ELSE tracks_posts_separation.row_document(gone.whole)
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
            WHEN EXISTS (
                SELECT FROM public.posts AS other
                WHERE other.user_id = gone.user_id AND other.audio_url COLLATE "C" = gone.file_url COLLATE "C"
                  AND other.post_type = 'audio'
                  AND pg_catalog.hashtextextended(other.audio_url COLLATE "C", 0)
                      = pg_catalog.hashtextextended(gone.file_url COLLATE "C", 0)
            ) THEN '{}'
            ELSE '{"without_post": true}'
        END || CASE
            WHEN o.track_id IS NULL THEN '{}'
            ELSE pg_catalog.jsonb_build_object('named_after', o.post_id)
        END,
        run_id
    FROM gone
    LEFT JOIN tracks_posts_separation.track_under_other_id AS o ON o.track_id = gone.id
    LEFT JOIN public.posts AS p ON p.id = coalesce(o.post_id, gone.id) AND p.user_id = gone.user_id;
    -- What waits for the commit runs under this path, too.
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    DELETE FROM tracks_posts_separation.track_under_other_id AS o
    USING pg_catalog.unnest(candidates) AS c (id)
    WHERE o.track_id = c.id AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = o.track_id);
END
$$;

-- Deletes what batches leave: a track whose post has lost it stays while a repost uses it, and when that goes nobody comes
-- back for it. Returns how many.
CREATE OR REPLACE FUNCTION tracks_posts_separation.take_tracks_left() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    candidates uuid[] := ARRAY(
        SELECT made.id
        FROM tracks_posts_separation.made_tracks() AS made (id)
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = made.id)
    );
BEGIN
    IF pg_catalog.cardinality(candidates) > 0 THEN
        -- As the triggers do: nobody decides on such a track for a new post meanwhile.
        PERFORM tracks_posts_separation.lock_files(ARRAY(
            SELECT tracks_posts_separation.file_key(t.user_id, t.file_url) FROM public.tracks AS t WHERE t.id = ANY (candidates)
        ));
        PERFORM tracks_posts_separation.take_tracks(candidates, true);
    END IF;
    RETURN pg_catalog.cardinality(candidates);
END
$$;

-- Undoes the backfill and what the triggers made, for posts with after_key < id <= upto_key (null: no bound), the first
-- most_rows of them (null: all). Returns their number, and the last one's id; null where the range is through.
-- Posts of the new application get their audio_* columns from their track; a track made by us goes when no post is
-- left on it, whole into the archive.
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
    deletes_are_quiet boolean;
    role_stays boolean;
BEGIN
    IF after_key IS NULL AND upto_key IS NULL AND most_rows IS NULL THEN
        PERFORM tracks_posts_separation.refuse_whole_table((
            SELECT pg_catalog.count(*)
            FROM (
                SELECT FROM public.posts WHERE track_id IS NOT NULL LIMIT tracks_posts_separation.whole_table_limit() + 1
            ) AS few
        ));
    END IF;
    SELECT
        pg_catalog.array_agg(locked.id ORDER BY locked.id), pg_catalog.array_agg(DISTINCT locked.track_id), pg_catalog.count(*)
    INTO ids, candidates, rows_moved
    FROM tracks_posts_separation.lock_posts_with_track(low, after_key IS NULL, high, most_rows) AS locked;
    IF rows_moved = most_rows THEN
        last_key := ids[most_rows];
        high := last_key;
    END IF;
    -- A key or a trigger that somebody adds to tracks waits from here on.
    LOCK TABLE public.tracks IN ROW EXCLUSIVE MODE;
    deletes_are_quiet := tracks_posts_separation.deletes_may_be_quiet();
    -- As in the fill: the runner's workers change the role once, which empties the plan cache.
    role_stays := deletes_are_quiet
        AND coalesce(pg_catalog.current_setting('runbook.batch_session', true) = 'on', false);
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    -- What the old application must read: of a post that has no file, or whose name a rollback made up, everything; of
    -- the others what the new application changed in their track. A repost keeps its own details of the same file.
    IF role_stays THEN
        PERFORM pg_catalog.set_config('session_replication_role', 'replica', false);
    ELSE
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    WITH told AS (
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
                  -- First what is seldom true: the function costs more than the rest.
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
        SELECT told.id, told.file_name FROM told WHERE told.is_derived
        ON CONFLICT (post_id) DO UPDATE SET audio_filename = excluded.audio_filename
    )
    UPDATE public.posts AS p
    SET track_id = NULL,
        audio_url = CASE WHEN told.id IS NULL THEN p.audio_url ELSE told.file_url END,
        audio_filename = CASE WHEN told.id IS NULL THEN p.audio_filename ELSE told.file_name END,
        audio_mime_type = CASE WHEN told.id IS NULL THEN p.audio_mime_type ELSE told.mime_type END,
        audio_file_size = CASE WHEN told.id IS NULL THEN p.audio_file_size ELSE told.file_size END,
        audio_duration = CASE WHEN told.id IS NULL THEN p.audio_duration ELSE told.duration END
    FROM pg_catalog.unnest(ids) AS wanted (id)
    LEFT JOIN told ON told.id = wanted.id
    WHERE p.id = wanted.id;
    IF NOT deletes_are_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
        -- What waits for the commit runs under this path, too.
        SET CONSTRAINTS ALL IMMEDIATE;
    END IF;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- Tracks of these posts, and tracks named after posts deleted since: of the same user, or they are somebody's upload.
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
    PERFORM tracks_posts_separation.take_tracks(candidates, NOT deletes_are_quiet);
    IF deletes_are_quiet AND NOT role_stays THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
END
$$;

-- For the checks: every foreign key from and to the tables that are written, with the rows that point at nothing
-- (null where the role may not read both tables).
CREATE OR REPLACE FUNCTION tracks_posts_separation.foreign_keys()
RETURNS TABLE (key text, rows_without_parent bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT
            pg_catalog.format('%I.%I (%I)', n.nspname, r.relname, c.conname) AS key,
            pg_catalog.format(
                'SELECT pg_catalog.count(*) FROM %I.%I AS child WHERE %s AND NOT EXISTS (SELECT FROM %I.%I AS parent WHERE %s)',
                n.nspname, r.relname, pair.given, m.nspname, f.relname, pair.equal
            ) AS orphans,
            pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.conrelid, 'SELECT')
                AND pg_catalog.has_schema_privilege(m.oid, 'USAGE')
                AND pg_catalog.has_table_privilege(c.confrelid, 'SELECT') AS readable
        FROM pg_catalog.pg_constraint AS c
        JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
        JOIN pg_catalog.pg_class AS f ON f.oid = c.confrelid
        JOIN pg_catalog.pg_namespace AS m ON m.oid = f.relnamespace
        CROSS JOIN LATERAL (
            SELECT
                pg_catalog.string_agg(pg_catalog.format('child.%I IS NOT NULL', ca.attname), ' AND ') AS given,
                pg_catalog.string_agg(pg_catalog.format('parent.%I = child.%I', pa.attname, ca.attname), ' AND ') AS equal
            FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey)) AS k (child_number, parent_number)
            JOIN pg_catalog.pg_attribute AS ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child_number
            JOIN pg_catalog.pg_attribute AS pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent_number
        ) AS pair
        WHERE c.contype = 'f'
          AND c.conparentid = 0
          AND ARRAY[c.conrelid, c.confrelid] && ARRAY[
              'public.posts'::pg_catalog.regclass::oid, 'public.tracks'::pg_catalog.regclass::oid,
              'public.playlist_tracks'::pg_catalog.regclass::oid
          ]
        ORDER BY 1
    LOOP
        key := found.key;
        rows_without_parent := NULL;
        IF found.readable THEN
            EXECUTE found.orphans INTO rows_without_parent;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Functions that anybody may call are callable through the REST API.
CREATE OR REPLACE FUNCTION tracks_posts_separation.close_to_applications() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    application_role text;
BEGIN
    FOR application_role IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT pg_catalog.quote_ident(rolname)
        FROM pg_catalog.pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'service_role')
    LOOP
        EXECUTE 'REVOKE ALL ON SCHEMA tracks_posts_separation FROM ' || application_role;
        EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA tracks_posts_separation FROM ' || application_role;
        EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tracks_posts_separation FROM ' || application_role;
    END LOOP;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: quiet the triggers of posts for the backfill where the replica role is refused
-- lock: public.posts SHARE ROW EXCLUSIVE
SELECT tracks_posts_separation.quiet_post_triggers(true);

-- step: triggers that note a track under the id of a post
-- lock: public.posts SHARE ROW EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- Ours excepted: what the functions of this plan insert for the owner. Among posts before the trigger that makes the track.
DO $step$
BEGIN
    EXECUTE $trigger$
        CREATE OR REPLACE TRIGGER zz_tracks_posts_separation_note
        AFTER INSERT OR UPDATE OF
            id, title, description, file_url, duration, file_size, mime_type, created_at, updated_at
        ON public.tracks FOR EACH ROW
        WHEN (pg_catalog.current_setting('tracks_posts_separation.makes_tracks', true) IS DISTINCT FROM 'on'
            OR NOT pg_catalog.pg_has_role($trigger$ || (
            SELECT pg_catalog.quote_literal(pg_catalog.pg_get_userbyid(relowner))
            FROM pg_catalog.pg_class
            WHERE oid = 'public.tracks'::pg_catalog.regclass
        ) || $trigger$, 'USAGE'))
        EXECUTE FUNCTION tracks_posts_separation.note_uploaded_track()
    $trigger$;
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_1_note"
        AFTER INSERT OR UPDATE OF id ON public.posts FOR EACH ROW
        EXECUTE FUNCTION tracks_posts_separation.note_uploaded_track();
END
$step$;

-- step: note the tracks that have the id of a post already
-- Before the triggers below make tracks. Post or track, which of them came first, nobody can tell: entries name posts here.
INSERT INTO tracks_posts_separation.uploaded_track (track_id, came_first)
SELECT t.id, false
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger
    WHERE tgrelid = 'public.posts'::pg_catalog.regclass AND tgname = 'zz_tracks_posts_separation_decide_insert'
)
ON CONFLICT (track_id) DO NOTHING;

-- step: tracks that an earlier rollback archived and that take no post's id
-- The others come back with their posts (migration 2). A track whose posts were deleted since stays in the archive.
DO $step$
DECLARE
    back uuid[];
BEGIN
    SELECT pg_catalog.array_agg(a.track) INTO back
    FROM (
        SELECT
            (row_data ->> 'id')::uuid AS track,
            (row_data ->> 'user_id')::uuid AS owner,
            row_data ->> 'file_url' AS file,
            coalesce((row_data ->> 'without_post')::boolean, false) AS without_post
        FROM tracks_posts_separation.archive
        WHERE reason = 'reverted_track'
    ) AS a
    WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = a.track AND p.user_id = a.owner)
      AND (
          a.without_post
          OR EXISTS (
              SELECT FROM public.posts AS p
              WHERE p.user_id = a.owner AND p.audio_url COLLATE "C" = a.file COLLATE "C" AND p.post_type = 'audio'
                AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0)
                    = pg_catalog.hashtextextended(a.file COLLATE "C", 0)
          )
      );
    INSERT INTO tracks_posts_separation.track_under_other_id (track_id, post_id, user_id)
    SELECT (a.row_data ->> 'id')::uuid, (a.row_data ->> 'named_after')::uuid, (a.row_data ->> 'user_id')::uuid
    FROM tracks_posts_separation.archive AS a
    WHERE a.reason = 'reverted_track' AND a.row_data ? 'named_after' AND (a.row_data ->> 'id')::uuid = ANY (back)
    ON CONFLICT DO NOTHING;
    INSERT INTO tracks_posts_separation.deleted_post (post_id, user_id, track_id)
    SELECT (a.row_data ->> 'id')::uuid, (a.row_data ->> 'user_id')::uuid, (a.row_data ->> 'id')::uuid
    FROM tracks_posts_separation.archive AS a
    WHERE a.reason = 'reverted_track'
      AND NOT a.row_data ? 'named_after' AND NOT a.row_data ? 'without_post'
      AND (a.row_data ->> 'id')::uuid = ANY (back)
    ON CONFLICT DO NOTHING;
    PERFORM tracks_posts_separation.bring_back_tracks(back);
    -- Triggers of the deployment that wait for the commit.
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
END
$step$;

-- step: compatibility triggers of posts
-- lock: public.posts SHARE ROW EXCLUSIVE
-- Names decide the order: ours decides last of all BEFORE triggers, and makes the track before the key is checked
-- (the key's own trigger is called RI_ConstraintTrigger...).
DO $step$
DECLARE
    not_a_batch text := tracks_posts_separation.not_a_batch();
BEGIN
    CREATE OR REPLACE TRIGGER zz_tracks_posts_separation_decide_insert
        BEFORE INSERT ON public.posts FOR EACH ROW
        WHEN (NEW.post_type = 'audio' OR NEW.track_id IS NOT NULL)
        EXECUTE FUNCTION tracks_posts_separation.decide_track_of_post();
    EXECUTE $trigger$
        CREATE OR REPLACE TRIGGER zz_tracks_posts_separation_decide_update
        BEFORE UPDATE ON public.posts FOR EACH ROW
        WHEN ((OLD.post_type = 'audio' OR NEW.post_type = 'audio' OR NEW.track_id IS NOT NULL) AND $trigger$
        || not_a_batch || $trigger$)
        EXECUTE FUNCTION tracks_posts_separation.decide_track_of_post()
    $trigger$;
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_follow_insert"
        AFTER INSERT ON public.posts FOR EACH ROW
        WHEN (NEW.track_id IS NOT NULL)
        EXECUTE FUNCTION tracks_posts_separation.follow_post();
    EXECUTE $trigger$
        CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_follow_update"
        AFTER UPDATE ON public.posts FOR EACH ROW
        WHEN ((OLD.post_type = 'audio' OR OLD.track_id IS NOT NULL OR NEW.track_id IS NOT NULL) AND $trigger$
        || not_a_batch || $trigger$)
        EXECUTE FUNCTION tracks_posts_separation.follow_post()
    $trigger$;
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_forget"
        AFTER DELETE ON public.posts FOR EACH ROW
        WHEN (OLD.post_type = 'audio' OR OLD.track_id IS NOT NULL)
        EXECUTE FUNCTION tracks_posts_separation.forget_post();
END
$step$;
