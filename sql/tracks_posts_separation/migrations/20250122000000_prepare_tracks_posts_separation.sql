-- Tracks vs Posts Separation, migration 1: schema preparation.
--
-- Adds what the new application reads (posts.track_id, further columns of tracks) and the triggers that keep the old
-- application correct until the compatibility is retired. No existing row is changed.
--
-- The file serves ansible-playbook, `supabase db push` and psql. One setting must be given; the runner takes it from
-- the inventory: tracks_posts_separation.migrated_tracks_are_public
--
-- HOW TO READ THE FOUR FILES
--
-- Steps. The runner makes each step one transaction, which first takes the locks of its `-- lock:` lines, under a
-- lock_timeout; steps with CONCURRENTLY or VACUUM run outside one. psql commits each statement, and waits for locks
-- without limit unless a lock_timeout is set (PGOPTIONS). Either way a step can run twice. In revert files `-- data` marks
-- the steps that move rows: a restore in place leaves them out, because its backup has the rows.
--
-- Parameters. The runner sets runbook.*: run_id, batch_session (a session that runs only batches), restored_to (the time
-- of the backup during a restore in place). Elsewhere they are not set.
--
-- Names. Triggers, defaults and checks of the deployment run under the search_path of the application's sessions
-- (deployment_path). So a function that writes tables of the application names everything in full and sets that path
-- around each such statement; before it resets the path, it makes constraints IMMEDIATE that would wait for the commit.
-- Other functions have the helper schema in their search_path and name what is in there without a schema. Tables of the
-- application are always written public.x.
--
-- Files. Two posts have the same file if the bytes of their addresses are equal: COLLATE "C" wherever files are compared,
-- hashed or indexed. The two indexes below are on a hash of eight bytes.
--
-- Planner pins. Most statements run while statistics are missing or old: a column was just added, a table just filled.
--   SET enable_... = off               the function looks rows up by key and must neither scan, sort nor hash a table
--   SET plan_cache_mode = force_...    its statements are planned once per session
--   LATERAL (...), OFFSET 0            fix which side of a join is looked up in which
--   (...) IS TRUE, IS NOT DISTINCT FROM    keep a condition away from an index that only looks selective
--   ORDER BY id + 0                    sorts the few rows found, rather than walking the primary key for the newest
--   ARRAY(SELECT ...)                  a list of keys that is computed once, before the statement that uses it

-- step: create the helper schema and its archive
CREATE SCHEMA IF NOT EXISTS tracks_posts_separation;
COMMENT ON SCHEMA tracks_posts_separation IS
    'Tracks vs Posts Separation: compatibility triggers, archive and what a rollback needs. Not for applications.';

-- A rollback keeps the archive in a schema of its own; this run continues it.
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

-- Rows that could not stay where they were. Autovacuum gains nothing while a rollback inserts a row for every track.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.archive (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason text NOT NULL,
    table_name text NOT NULL,
    row_data jsonb NOT NULL,
    run_id text DEFAULT nullif(pg_catalog.current_setting('runbook.run_id', true), ''),
    archived_at timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (autovacuum_vacuum_insert_threshold = -1);
-- Partial: a repair archives rows of any table, whose id need not be a uuid. docs/tracks_posts_separation.md explains the
-- reasons.
CREATE INDEX IF NOT EXISTS archive_reason_and_row
    ON tracks_posts_separation.archive (reason, ((row_data ->> 'id')::uuid))
    WHERE reason IN (
        'entry_repointed', 'entry_collapsed', 'entry_without_track', 'request_met_entry', 'entry_of_replaced_track',
        'entry_of_deleted_track', 'entry_without_post', 'track_without_post', 'reverted_track'
    );
-- File names that a rollback made up for posts that had none. They never become a title.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.derived_file_name (
    post_id uuid PRIMARY KEY,
    audio_filename text NOT NULL
);

-- The columns of tables, as rows are archived and inserted again. is_exact: a JSON document holds values of this type
-- exactly. Of others it loses white space and repeated keys of json, lower bounds of arrays, the sign of -0.
CREATE OR REPLACE VIEW tracks_posts_separation.table_column AS
SELECT
    c.oid AS of_table, a.attnum AS place, a.attname::text AS name, a.attnotnull AS is_required,
    a.attgenerated <> '' AS is_generated,
    CASE
        WHEN a.attidentity = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid)
        ELSE pg_catalog.format(
            'pg_catalog.nextval(%L)', pg_catalog.pg_get_serial_sequence(c.oid::pg_catalog.regclass::text, a.attname)
        )
    END AS default_value,
    t.typtype = 'e' OR t.oid = ANY (
        '{boolean,smallint,integer,bigint,numeric,text,varchar,bpchar,uuid,bytea,date,timestamp,timestamptz,time}'
        ::pg_catalog.regtype[]
    ) AS is_exact
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum;

-- A row as the archive keeps it: JSON, with the text of values that JSON does not hold exactly. (format() calls the output
-- function of a type; its cast to text may be another.)
CREATE OR REPLACE FUNCTION tracks_posts_separation.row_document(entry anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 3 SET lc_monetary = 'C'
AS $$
DECLARE
    document jsonb;
BEGIN
    EXECUTE (
        SELECT format(
            'SELECT jsonb_object_agg(c.name, c.value) FROM (VALUES %s) AS c (name, value)',
            string_agg(format(
                CASE
                    WHEN is_exact THEN '(%1$L, to_jsonb(($1).%1$I))'
                    ELSE '(%1$L, CASE WHEN num_nulls(($1).%1$I) = 0 THEN to_jsonb(format(''%%s'', ($1).%1$I)) END)'
                END, name
            ), ', ')
        )
        FROM table_column
        WHERE of_table = (SELECT typrelid FROM pg_type WHERE oid = pg_typeof(entry))
    ) INTO document USING entry;
    RETURN document;
END
$$;

-- The row of such a document, of the type of the first argument. A column that the document lacks is null.
CREATE OR REPLACE FUNCTION tracks_posts_separation.document_row(of_type anyelement, document jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET lc_monetary = 'C' SET xmloption = 'content'
AS $$
DECLARE
    row_text text := (
        SELECT format('(%s)', string_agg(
            coalesce('"' || regexp_replace(document ->> name, '(["\\])', '\1\1', 'g') || '"', ''), ',' ORDER BY place
        ))
        FROM table_column
        WHERE of_table = (SELECT typrelid FROM pg_type WHERE oid = pg_typeof(of_type))
    );
BEGIN
    EXECUTE format('SELECT (r.whole).* FROM (SELECT $1::%s AS whole OFFSET 0) AS r', pg_typeof(of_type))
    INTO of_type USING row_text;
    RETURN of_type;
END
$$;

-- The command that inserts such documents ($1, an array of them) into a table. A column that was added or has become
-- required since they were archived gets its default.
CREATE OR REPLACE FUNCTION tracks_posts_separation.insert_documents(into_table pg_catalog.regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
    SELECT format(
        'INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %3$s FROM pg_catalog.unnest($1) AS u (document)'
        ' CROSS JOIN LATERAL %4$s(NULL::%1$s, u.document) AS r',
        into_table,
        string_agg(quote_ident(name), ', ' ORDER BY place),
        string_agg(
            CASE
                WHEN default_value IS NULL THEN format('r.%I', name)
                ELSE format(
                    'CASE WHEN u.document OPERATOR(pg_catalog.?) %L%s THEN r.%I ELSE %s END', name,
                    CASE WHEN is_required THEN format(' AND r.%I IS NOT NULL', name) END, name, default_value
                )
            END,
            ', ' ORDER BY place
        ),
        CASE
            WHEN bool_and(is_exact) THEN 'pg_catalog.jsonb_populate_record'
            ELSE 'tracks_posts_separation.document_row'
        END
    )
    FROM table_column
    WHERE of_table = into_table AND NOT is_generated
$$;

-- CREATE FUNCTION lets everybody call the function, and the REST API can make that public: hence a call of this one after
-- each group of functions.
CREATE OR REPLACE FUNCTION tracks_posts_separation.close_to_applications() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    application_role text;
    kind text;
BEGIN
    FOR application_role IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role')
    LOOP
        FOREACH kind IN ARRAY ARRAY['', 'ALL TABLES IN ', 'ALL FUNCTIONS IN '] LOOP
            EXECUTE format('REVOKE ALL ON %sSCHEMA tracks_posts_separation FROM %s', kind, application_role);
        END LOOP;
    END LOOP;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the tables of the helper schema
-- migrated_tracks_are_public, which was given; replica_role, which was probed; all others mark how far the plan has come.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.setting (
    name text PRIMARY KEY,
    value text NOT NULL
);
-- What the deployment had before this plan. A rollback does not remove it.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.existed_before (
    kind text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (kind, name)
);
-- Definitions that this plan replaces, for the rollback.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.replaced (
    kind text NOT NULL,
    name text NOT NULL,
    definition text,
    was_valid boolean NOT NULL DEFAULT true,
    remark text,                -- the comment on it
    PRIMARY KEY (kind, name)
);
-- This table and the next two decide who made a track: see the view made_track. Here: deleted posts, with the track of each.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.deleted_post (
    post_id uuid NOT NULL,
    user_id uuid NOT NULL,
    track_id uuid NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (post_id, user_id)
);
-- Tracks made from a post whose own id a track had already.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.track_under_other_id (
    track_id uuid PRIMARY KEY,
    post_id uuid NOT NULL,
    user_id uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS track_under_other_id_post ON tracks_posts_separation.track_under_other_id (post_id);
-- Tracks that the application inserted although a post has their id. came_first: before that post.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.uploaded_track (
    track_id uuid PRIMARY KEY,
    came_first boolean NOT NULL
);
-- Tracks that the application edited without a later updated_at: nothing else distinguishes them from a wrong backfill.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.edited_track (
    track_id uuid PRIMARY KEY
);
-- Posts whose track does not take their id, listed by migration 2. place_and_post begins with the number of the lock of
-- the post's file: workers that take the list in this order never want the same lock.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.exception (
    post_id uuid PRIMARY KEY,
    track_id uuid NOT NULL,
    place_and_post text COLLATE "C" NOT NULL UNIQUE
);
-- Rows to lock in place of advisory locks, whose keys any session could take. They are never written.
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

-- step: record the plan's setting and what exists already
DO $step$
DECLARE
    given text := nullif(pg_catalog.current_setting('tracks_posts_separation.migrated_tracks_are_public', true), '');
    kept text := (SELECT value FROM tracks_posts_separation.setting WHERE name = 'migrated_tracks_are_public');
    replica_role boolean := true;
BEGIN
    IF given IS NULL AND kept IS NULL THEN
        RAISE EXCEPTION 'the setting migrated_tracks_are_public is missing: are tracks made from posts public?'
            USING HINT = 'With the runner: migration_plan_settings in the inventory. With psql or the Supabase CLI: '
                'PGOPTIONS=''-c tracks_posts_separation.migrated_tracks_are_public=true'', or ALTER DATABASE ... SET '
                'tracks_posts_separation.migrated_tracks_are_public = true. There is no default: only you know whether '
                'posts were meant for everybody.';
    END IF;
    BEGIN
        given := coalesce(given, kept)::boolean::text;
    EXCEPTION WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'the setting migrated_tracks_are_public is %, which is neither true nor false', given
            USING HINT = 'Give true or false: it becomes tracks.is_public of every track made from a post.';
    END;
    -- The privilege is probed by using it.
    BEGIN
        PERFORM
            pg_catalog.set_config('session_replication_role', 'replica', true),
            pg_catalog.set_config('session_replication_role', 'origin', true);
    EXCEPTION WHEN insufficient_privilege THEN
        replica_role := false;
    END;
    -- A run that was closed before it changed a table has noted what existed then: others may have deployed since.
    IF NOT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'tables_are_changed') THEN
        DELETE FROM tracks_posts_separation.existed_before;
        INSERT INTO tracks_posts_separation.existed_before (kind, name)
        SELECT 'column', c.relname || '.' || a.attname
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        WHERE c.oid IN ('public.posts'::pg_catalog.regclass, 'public.tracks'::pg_catalog.regclass)
          AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT 'constraint', conname
        FROM pg_catalog.pg_constraint
        WHERE conrelid IN ('public.posts'::pg_catalog.regclass, 'public.tracks'::pg_catalog.regclass)
        UNION ALL
        SELECT 'index', relname
        FROM pg_catalog.pg_class
        WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind IN ('i', 'I')
        ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO tracks_posts_separation.setting (name, value)
    VALUES ('migrated_tracks_are_public', given), ('replica_role', replica_role::text)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
END
$step$;

-- step: record the search_path of the application's sessions
-- Settings of roles that may write posts come first (those that log in, then the others, then the owner), then the
-- setting of the database, else the server's. "$user" is left out, because it names another schema for every role;
-- pg_temp stands last, because everybody can create objects there.
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
            SELECT DISTINCT ON (d.setrole) d.setrole, substr(c.line, 13) AS value
            FROM pg_db_role_setting AS d
            CROSS JOIN LATERAL unnest(d.setconfig) AS c (line)
            WHERE c.line LIKE 'search\_path=%'
              AND d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            ORDER BY d.setrole, d.setdatabase DESC
        )
        SELECT CASE WHEN r.oid = posts.relowner THEN 2 WHEN r.rolcanlogin THEN 0 ELSE 1 END AS place, s.value, r.rolname AS role
        FROM setting AS s
        JOIN pg_roles AS r ON r.oid = s.setrole
        JOIN pg_class AS posts ON posts.oid = 'public.posts'::regclass
        WHERE NOT r.rolsuper
          AND EXISTS (
              SELECT
              FROM pg_roles AS writer
              WHERE NOT writer.rolsuper
                AND pg_has_role(r.oid, writer.oid, 'MEMBER')
                AND has_table_privilege(writer.oid, posts.oid, 'INSERT, UPDATE, DELETE')
          )
        UNION ALL
        SELECT 3, value, '' FROM setting WHERE setrole = 0
        UNION ALL
        -- reset_val is the server's, unless this session's role has a setting of its own.
        SELECT 4, reset_val, ''
        FROM pg_settings
        WHERE name = 'search_path' AND NOT EXISTS (
            SELECT FROM setting WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
        )
        UNION ALL
        SELECT 5, boot_val, '' FROM pg_settings WHERE name = 'search_path'
        ORDER BY place, role
    LOOP
        CONTINUE WHEN given.place > 3 AND has_default;
        -- Read as the server reads it: schemas that are missing or closed to the owner drop out.
        PERFORM set_config('search_path', regexp_replace(given.value, '"?\$user"?', 'pg_catalog', 'g'), true);
        schemas := pg_catalog.current_schemas(false)::pg_catalog.text[];
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        schemas := ARRAY(
            SELECT s.name FROM unnest(schemas) WITH ORDINALITY AS s (name, place) WHERE s.name !~ '^pg_' ORDER BY s.place
        );
        has_default := has_default OR (given.place >= 3 AND schemas <> '{}');
        found := found || ARRAY(
            SELECT s.name FROM unnest(schemas) WITH ORDINALITY AS s (name, place) WHERE s.name <> ALL (found) ORDER BY s.place
        );
    END LOOP;
    path := (SELECT coalesce(string_agg(quote_ident(f.name) || ', ', '' ORDER BY f.place), '') || 'pg_temp'
             FROM unnest(found) WITH ORDINALITY AS f (name, place));
    -- A function, so that it is a constant wherever it is read.
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION tracks_posts_separation.deployment_path() RETURNS pg_catalog.text '
        'LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
        format('SELECT %L::pg_catalog.text', path)
    );
    RETURN path;
END
$$;
SELECT tracks_posts_separation.record_deployment_path();

-- step: create the functions that read a definition and drop an unusable index
-- How a constraint is defined, with every name qualified and without NOT VALID: whoever creates it again has another
-- search_path.
CREATE OR REPLACE FUNCTION tracks_posts_separation.constraint_definition(
    of_table pg_catalog.regclass, constraint_name name
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '')
    FROM pg_constraint
    WHERE conrelid = of_table AND conname = constraint_name
$$;

-- Drops an index that cannot serve: an aborted CREATE INDEX CONCURRENTLY leaves an invalid one behind, which
-- IF NOT EXISTS would accept. Refuses one of another definition. wanted: the definition, and others that mean the same.
CREATE OR REPLACE FUNCTION tracks_posts_separation.clear_unusable_index(VARIADIC wanted text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    index_name text := split_part(wanted[1], ' ', 3);
    present record;
BEGIN
    SELECT indisvalid, pg_get_indexdef(indexrelid) AS definition INTO present
    FROM pg_index
    WHERE indexrelid = to_regclass(format('public.%I', index_name));
    IF present.definition <> ALL (wanted) THEN
        RAISE EXCEPTION 'the index public.% exists with another definition: %', index_name, present.definition
            USING HINT = format(
                'Wanted is: %s. Rename the existing one (ALTER INDEX public.%I RENAME TO ...) and run again.',
                wanted[1], index_name
            );
    ELSIF NOT present.indisvalid THEN
        EXECUTE format('DROP INDEX public.%I', index_name);
    END IF;
END
$$;

-- step: add the columns, and let posts_audio_fields_check accept a post that has a track
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
INSERT INTO tracks_posts_separation.setting (name, value) VALUES ('tables_are_changed', 'true')
ON CONFLICT (name) DO NOTHING;
ALTER TABLE public.posts ADD COLUMN IF NOT EXISTS track_id uuid;
ALTER TABLE public.tracks
    ADD COLUMN IF NOT EXISTS file_size integer,
    ADD COLUMN IF NOT EXISTS mime_type text,
    ADD COLUMN IF NOT EXISTS original_file_size integer,
    ADD COLUMN IF NOT EXISTS compression_ratio numeric(4, 2),
    ADD COLUMN IF NOT EXISTS compression_applied boolean DEFAULT false;
DO $step$
DECLARE
    checked name;
    old record;
BEGIN
    FOREACH checked IN ARRAY ARRAY['file_size', 'original_file_size', 'compression_ratio'] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint
            WHERE conrelid = 'public.tracks'::pg_catalog.regclass AND conname = 'tracks_' || checked || '_check'
        ) THEN
            EXECUTE pg_catalog.format(
                'ALTER TABLE public.tracks ADD CONSTRAINT tracks_%1$s_check CHECK (%1$s > 0) NOT VALID', checked
            );
        END IF;
    END LOOP;
    -- Older deployments have this check: an audio post needs audio_url. The new application writes track_id instead.
    INSERT INTO tracks_posts_separation.replaced (kind, name, definition, was_valid, remark)
    SELECT
        'check', conname, tracks_posts_separation.constraint_definition(conrelid, conname), convalidated,
        pg_catalog.obj_description(oid, 'pg_constraint')
    FROM pg_catalog.pg_constraint
    WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'posts_audio_fields_check' AND contype = 'c'
    ON CONFLICT DO NOTHING
    RETURNING * INTO old;
    IF FOUND THEN
        ALTER TABLE public.posts DROP CONSTRAINT posts_audio_fields_check;
        -- CHECK (rule) and its options, which stay.
        EXECUTE pg_catalog.format(
            'ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check %s NOT VALID',
            pg_catalog.regexp_replace(
                old.definition,
                '^CHECK \((.*)\)((?: NO INHERIT)?(?: NOT ENFORCED)?)$',
                'CHECK ((\1) OR (post_type = ''audio'' AND track_id IS NOT NULL))\2'
            )
        );
        EXECUTE pg_catalog.format(
            'COMMENT ON CONSTRAINT posts_audio_fields_check ON public.posts IS %L', old.remark
        );
    END IF;
END
$step$;

-- step: validate the checks of tracks
ALTER TABLE public.tracks
    VALIDATE CONSTRAINT tracks_file_size_check,
    VALIDATE CONSTRAINT tracks_original_file_size_check,
    VALIDATE CONSTRAINT tracks_compression_ratio_check;

-- step: validate posts_audio_fields_check where it was valid before
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

-- step: drop unusable indexes of an earlier attempt
SELECT
    tracks_posts_separation.clear_unusable_index(
        'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
    ),
    tracks_posts_separation.clear_unusable_index(
        'CREATE INDEX tracks_posts_separation_tracks_file ON public.tracks USING btree'
        ' (user_id, hashtextextended((file_url COLLATE "C"), (0)::bigint))'
    ),
    tracks_posts_separation.clear_unusable_index(
        'CREATE INDEX tracks_posts_separation_posts_file ON public.posts USING btree'
        ' (user_id, hashtextextended((audio_url COLLATE "C"), (0)::bigint)) WHERE (post_type = ''audio''::text)'
    );

-- step: index posts.track_id
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

-- step: index tracks by user and file, for the triggers
CREATE INDEX CONCURRENTLY IF NOT EXISTS tracks_posts_separation_tracks_file
    ON public.tracks (user_id, pg_catalog.hashtextextended(file_url COLLATE "C", 0));

-- step: index audio posts by user and file, for the triggers
CREATE INDEX CONCURRENTLY IF NOT EXISTS tracks_posts_separation_posts_file
    ON public.posts (user_id, pg_catalog.hashtextextended(audio_url COLLATE "C", 0)) WHERE post_type = 'audio';

-- step: create the rules: what a track looks like, whose it is, which posts share one
-- A blank address is no file, and without a file there is no track. The first byte decides for almost every text, while
-- btrim reads all characters: blanks sort before '!' in every encoding.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_blank(given text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce(given COLLATE "C" < '!' AND pg_catalog.btrim(given COLLATE "C", E' \t\r\n') = '', true) $$;

-- The track of a post, in the columns that are written. Inlined into the statement that calls it. Preflight finds a title
-- over 255 characters and a size or duration of 0 before the run; later ones must not stop a post.
CREATE OR REPLACE FUNCTION tracks_posts_separation.track_of_post(post public.posts) RETURNS TABLE (
    id uuid, user_id uuid, title text, description text, file_url text, duration integer, is_public boolean,
    created_at timestamptz, updated_at timestamptz,
    file_size integer, mime_type text, original_file_size integer, compression_ratio numeric, compression_applied boolean
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        post.id, post.user_id,
        coalesce(
            nullif(pg_catalog.left(pg_catalog.btrim(post.audio_filename COLLATE "C", E' \t\r\n'), 255), ''),
            'Audio from ' || coalesce(
                pg_catalog.to_char(pg_catalog.timezone('UTC', post.created_at), 'YYYY-MM-DD'), post.created_at::text
            )
        ),
        post.content, post.audio_url,
        CASE WHEN post.audio_duration > 0 THEN post.audio_duration END,
        (SELECT s.value::boolean FROM tracks_posts_separation.setting AS s WHERE s.name = 'migrated_tracks_are_public'),
        post.created_at, post.updated_at,
        CASE WHEN post.audio_file_size > 0 THEN post.audio_file_size END,
        post.audio_mime_type,
        CASE WHEN post.audio_file_size > 0 THEN post.audio_file_size END,
        1.0, false
$$;

-- The tracks that this plan made: named after a post of the same user, after one deleted since, or listed under another
-- id. An id alone proves nothing, because any user can insert a row under any id.
CREATE OR REPLACE VIEW tracks_posts_separation.made_track AS
SELECT t.id, t.user_id
FROM public.tracks AS t
WHERE EXISTS (
    SELECT
    FROM (
        SELECT id AS track_id, user_id FROM public.posts
        UNION ALL
        SELECT post_id, user_id FROM tracks_posts_separation.deleted_post
        UNION ALL
        SELECT track_id, user_id FROM tracks_posts_separation.track_under_other_id
    ) AS named
    WHERE named.track_id = t.id AND named.user_id = t.user_id
) AND NOT EXISTS (SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id);

CREATE OR REPLACE FUNCTION tracks_posts_separation.is_made_by_us(track uuid, owner uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$ SELECT EXISTS (SELECT FROM made_track WHERE id = track AND user_id = owner) $$;

-- Whether a track of the post's user was made from this post: then it follows the post. Tracks of reposts do not.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_named_after(track uuid, post uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
    SELECT CASE
        WHEN track = post THEN NOT EXISTS (SELECT FROM uploaded_track WHERE track_id = track)
        ELSE EXISTS (
            SELECT
            FROM track_under_other_id AS o
            JOIN public.posts AS p ON p.id = o.post_id AND p.user_id = o.user_id
            WHERE o.track_id = track AND o.post_id = post
        )
    END
$$;

-- The audio posts of a user and file, through their index. Inlined into the statement that calls it.
CREATE OR REPLACE FUNCTION tracks_posts_separation.posts_of_file(owner uuid, file text) RETURNS SETOF public.posts
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT p.*
    FROM public.posts AS p
    WHERE p.user_id = owner
      AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0) = pg_catalog.hashtextextended(file COLLATE "C", 0)
      AND p.audio_url COLLATE "C" = file COLLATE "C"
      AND p.post_type = 'audio'
$$;

-- The number of the lock of a user and file: whoever decides about their track holds lock_slots('file', file_key(...))
-- until its transaction ends. Files that share a number only wait for each other.
CREATE OR REPLACE FUNCTION tracks_posts_separation.file_key(owner uuid, file text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.hashtext((owner::text || ' ' || file) COLLATE "C") & 1023 $$;

CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_slots(of_kind text, VARIADIC numbers integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    wanted bigint := (SELECT count(DISTINCT u.n) FROM unnest(numbers) AS u (n) WHERE u.n IS NOT NULL);
    locked bigint;
BEGIN
    -- In one order, or two calls could wait for each other. Several calls of one transaction are in the order of its writes:
    -- sessions that write posts in opposite orders can deadlock, as they can on rows.
    PERFORM FROM lock_slot AS s
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

-- While migration 2 fills posts.track_id, the column has neither index nor foreign key.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_filling() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$ SELECT EXISTS (SELECT FROM setting WHERE name = 'fill_without_index') $$;

-- Whether a post, other than the one given, has the track of (owner, file). The caller holds a lock that keeps others
-- from taking it meanwhile.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_used(
    track uuid, owner uuid, file text, other_than uuid
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    IF is_filling() THEN
        RETURN is_used_during_fill(track, owner, file, other_than);     -- migration 2
    END IF;
    RETURN EXISTS (SELECT FROM public.posts WHERE track_id = track AND id IS DISTINCT FROM other_than);
END
$$;

-- The track that (owner, file) has, or will have when the backfill gets there; null if there is none. The caller holds
-- the lock of the file. Volatile: it must see what was committed while the caller waited for that lock.
CREATE OR REPLACE FUNCTION tracks_posts_separation.known_track(asking_post uuid, owner uuid, file text) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    RETURN (
        WITH post AS MATERIALIZED (SELECT p.id, p.track_id, p.created_at FROM posts_of_file(owner, file) AS p)
        SELECT coalesce(
            -- The track of another post of this file, also of one of the same statement, whose track is not made yet.
            (
                SELECT p.track_id
                FROM post AS p
                WHERE p.track_id IS NOT NULL AND p.id <> asking_post AND NOT EXISTS (
                    SELECT FROM public.tracks AS t
                    WHERE t.id = p.track_id
                      AND (t.user_id, t.file_url COLLATE "C") IS DISTINCT FROM (owner, file COLLATE "C")
                )
                ORDER BY p.created_at, p.id
                LIMIT 1
            ),
            -- Once the exceptions are listed, a post that is none of them takes its own id, whatever is uploaded since.
            (
                SELECT first.id
                FROM (
                    SELECT p.id
                    FROM post AS p
                    WHERE p.track_id IS NULL AND p.id <> asking_post
                      AND EXISTS (SELECT FROM setting WHERE name = 'exceptions_are_listed')
                      AND NOT EXISTS (SELECT FROM exception AS e WHERE e.post_id = p.id)
                    ORDER BY p.created_at, p.id
                    LIMIT 1
                ) AS first
                WHERE NOT EXISTS (
                    SELECT FROM public.tracks AS t
                    WHERE t.id = first.id
                      AND (t.user_id, t.file_url COLLATE "C") IS DISTINCT FROM (owner, file COLLATE "C")
                )
            ),
            (
                SELECT t.id
                FROM public.tracks AS t
                WHERE t.user_id = owner
                  AND hashtextextended(t.file_url COLLATE "C", 0) = hashtextextended(file COLLATE "C", 0)
                  AND t.file_url COLLATE "C" = file COLLATE "C"
                ORDER BY t.created_at, t.id
                LIMIT 1
            ),
            -- The earliest post that the backfill has not reached: its track will take its id, if that is free.
            (
                SELECT first.id
                FROM (
                    SELECT p.id FROM post AS p WHERE p.track_id IS NULL ORDER BY p.created_at, p.id LIMIT 1
                ) AS first
                WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = first.id)
            )
        )
    );
END
$$;

-- The id of a track that is to be made from a post: the post's own, unless a track has it.
CREATE OR REPLACE FUNCTION tracks_posts_separation.free_track_id(post uuid) RETURNS uuid
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN EXISTS (SELECT FROM public.tracks WHERE id = post) THEN gen_random_uuid() ELSE post END $$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the functions that make and delete tracks
-- Inserts tracks again that an earlier rollback archived, with all their columns (genre, play_count); but a field that the
-- application has changed since in the post that the track is named after comes from that post.
CREATE OR REPLACE FUNCTION tracks_posts_separation.return_archived_tracks(tracks uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    back jsonb[];
BEGIN
    WITH taken AS (
        DELETE FROM tracks_posts_separation.archive AS a
        USING (
            SELECT newest.id
            FROM pg_catalog.unnest(tracks) AS wanted (id)
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
        RETURNING
            a.row_data AS track, a.row_data -> 'post' AS post, (a.row_data ->> 'user_id')::uuid AS user_id,
            coalesce(a.row_data ->> 'named_after', a.row_data ->> 'id')::uuid AS post_id
    )
    SELECT pg_catalog.array_agg(taken.track || changed.columns) INTO back
    FROM taken
    LEFT JOIN public.posts AS p ON p.id = taken.post_id AND p.user_id = taken.user_id
    CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
    CROSS JOIN LATERAL (
        SELECT pg_catalog.to_jsonb(v) AS track, pg_catalog.jsonb_build_object(
            'content', p.content, 'audio_url', p.audio_url, 'audio_filename', p.audio_filename,
            'audio_mime_type', p.audio_mime_type, 'audio_file_size', p.audio_file_size,
            'audio_duration', p.audio_duration, 'updated_at', p.updated_at
        ) AS post
    ) AS now
    CROSS JOIN LATERAL (
        SELECT coalesce(pg_catalog.jsonb_object_agg(
            c.of_track,
            CASE
                -- As when a post is edited (follow_post): a track that was newer than its post stays newer.
                WHEN c.of_track = 'updated_at'
                    AND (taken.track ->> 'updated_at')::timestamptz > (taken.post ->> 'updated_at')::timestamptz
                THEN pg_catalog.to_jsonb(greatest(
                    (taken.track ->> 'updated_at')::timestamptz, v.updated_at + interval '1 microsecond'
                ))
                ELSE now.track -> c.of_track
            END
        ), '{}') AS columns
        FROM (VALUES
            ('title', 'audio_filename'), ('description', 'content'), ('file_url', 'audio_url'),
            ('mime_type', 'audio_mime_type'), ('file_size', 'audio_file_size'), ('duration', 'audio_duration'),
            ('updated_at', 'updated_at')
        ) AS c (of_track, of_post)
        WHERE p.id IS NOT NULL
          AND taken.post IS NOT NULL
          -- A field that the archived post lacks was equal to the track's.
          AND (CASE
              WHEN taken.post ? c.of_post THEN taken.post ->> c.of_post ELSE taken.track ->> c.of_track
          END) COLLATE "C" IS DISTINCT FROM (now.post ->> c.of_post) COLLATE "C"
          AND (c.of_track <> 'file_url' OR NOT tracks_posts_separation.is_blank(p.audio_url))
    ) AS changed;
    IF back IS NULL THEN
        RETURN;
    END IF;
    PERFORM
        pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
    EXECUTE tracks_posts_separation.insert_documents('public.tracks') || ' ON CONFLICT (id) DO NOTHING' USING back;
    PERFORM
        pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'off', true);
    INSERT INTO tracks_posts_separation.edited_track (track_id)
    SELECT t.id
    FROM pg_catalog.unnest(back) AS b (document)
    JOIN public.tracks AS t ON t.id = (b.document ->> 'id')::uuid
    JOIN public.posts AS p ON p.id = t.id AND p.user_id = t.user_id
    CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
    WHERE t.updated_at <= v.updated_at
      AND (
          t.title COLLATE "C", t.description COLLATE "C", t.file_url COLLATE "C", t.duration, t.file_size,
          t.mime_type COLLATE "C", t.created_at
      ) IS DISTINCT FROM (
          v.title COLLATE "C", v.description COLLATE "C", v.file_url COLLATE "C", v.duration, v.file_size,
          v.mime_type COLLATE "C", v.created_at
      )
    ON CONFLICT DO NOTHING;
END
$$;

-- Makes the track that was decided for a post, from the post that has its id, else from this one.
CREATE OR REPLACE FUNCTION tracks_posts_separation.make_track(track uuid, for_post uuid, owner uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named_after_post boolean := EXISTS (
        SELECT FROM public.posts WHERE id = track AND user_id IS NOT DISTINCT FROM owner
    );
BEGIN
    -- The upload that had this id is gone.
    DELETE FROM tracks_posts_separation.uploaded_track WHERE track_id = track;
    -- An archived track of this file whose id another user's track has taken since returns under the new id.
    IF EXISTS (SELECT FROM tracks_posts_separation.archive WHERE reason = 'reverted_track') THEN
        UPDATE tracks_posts_separation.archive AS a
        SET row_data = a.row_data || pg_catalog.jsonb_build_object('id', track, 'named_after', kept.post_id)
        FROM (
            SELECT found.id, p.id AS post_id
            FROM public.posts AS asking
            CROSS JOIN LATERAL tracks_posts_separation.posts_of_file(asking.user_id, asking.audio_url) AS p
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
        WHERE a.id = kept.id AND NOT EXISTS (
            SELECT FROM tracks_posts_separation.archive AS own
            WHERE own.reason = 'reverted_track' AND (own.row_data ->> 'id')::uuid = track
        );
    END IF;
    PERFORM tracks_posts_separation.return_archived_tracks(ARRAY[track]);
    PERFORM
        pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
    -- ON CONFLICT: the backfill may be making it at this moment, and this waits for it.
    INSERT INTO public.tracks (
        id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
        file_size, mime_type, original_file_size, compression_ratio, compression_applied
    )
    SELECT
        track, v.user_id, v.title, v.description, v.file_url, v.duration, v.is_public, v.created_at, v.updated_at,
        v.file_size, v.mime_type, v.original_file_size, v.compression_ratio, v.compression_applied
    FROM public.posts AS p
    CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
    WHERE p.id = CASE WHEN named_after_post THEN track ELSE for_post END AND p.user_id IS NOT DISTINCT FROM owner
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

-- Deletes a track that the plan made once no post has it; a real upload stays. Its successor, if any, takes over the
-- playlist entries.
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
    -- Two sessions that delete the last two posts must see each other; from then on no post may take the track.
    PERFORM tracks_posts_separation.lock_slots('file', tracks_posts_separation.file_key(owner, file));
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
    IF EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'playlists_reference_tracks') THEN
        PERFORM tracks_posts_separation.release_entries(track, successor, post_is_gone);    -- migration 3
    END IF;
    -- A deleted account leaves nothing behind, not in the archive either.
    IF EXISTS (SELECT FROM public.profiles WHERE id = owner) THEN
        INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
        VALUES ('track_without_post', 'public.tracks', old_row);
    END IF;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    DELETE FROM public.tracks WHERE id = track;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    DELETE FROM tracks_posts_separation.track_under_other_id WHERE track_id = track;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the trigger functions
-- BEFORE INSERT OR UPDATE: decides only. What it wrote would stay behind an INSERT ... ON CONFLICT that inserts nothing.
CREATE OR REPLACE FUNCTION tracks_posts_separation.decide_track_of_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
DECLARE
    given public.tracks;
BEGIN
    -- OLD is null on INSERT, and so is each comparison with it.
    IF NEW.track_id = OLD.track_id AND NEW.post_type = OLD.post_type AND NEW.user_id = OLD.user_id
        AND NEW.audio_url COLLATE "C" IS NOT DISTINCT FROM OLD.audio_url COLLATE "C"
    THEN
        RETURN NEW;
    END IF;
    IF NEW.post_type <> 'audio' AND OLD.post_type = 'audio' AND NEW.track_id = OLD.track_id THEN
        NEW.track_id := NULL;
    END IF;
    IF NEW.track_id IS NOT NULL AND (NEW.track_id, NEW.user_id) IS DISTINCT FROM (OLD.track_id, OLD.user_id) THEN
        -- The new application names the track.
        SELECT * INTO given FROM public.tracks WHERE id = NEW.track_id AND user_id = NEW.user_id;
        IF FOUND THEN
            IF NEW.post_type = 'audio' AND NOT is_blank(NEW.audio_url)
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
        -- follow_post refuses another user's track and one that does not exist: row-level security has not been checked
        -- here yet, and the answer would reveal whose a private track is.
        IF NEW.track_id <> NEW.id OR EXISTS (SELECT FROM public.tracks WHERE id = NEW.track_id) THEN
            RETURN NEW;
        END IF;
        -- EXCLUDED of an upsert carries what was decided for the row that was not inserted: decide again.
        NEW.track_id := NULL;
    END IF;
    IF NEW.post_type <> 'audio' THEN
        IF NOT is_blank(OLD.audio_url) THEN
            -- A repost may be making the track of this post at this moment: follow_post must find it.
            PERFORM lock_slots('file', file_key(OLD.user_id, OLD.audio_url));
        END IF;
        RETURN NEW;
    END IF;
    -- Without a file there is nothing to make a track of; without a profile a track cannot exist.
    IF is_blank(NEW.audio_url) OR NOT EXISTS (SELECT FROM public.profiles WHERE id = NEW.user_id) THEN
        RETURN NEW;
    END IF;
    PERFORM lock_slots('file', file_key(NEW.user_id, NEW.audio_url), file_key(OLD.user_id, OLD.audio_url));
    NEW.track_id := known_track(NEW.id, NEW.user_id, NEW.audio_url);
    IF NEW.track_id IS NULL AND TG_OP = 'UPDATE' AND OLD.user_id = NEW.user_id
        AND is_named_after(OLD.track_id, OLD.id)
        AND NOT is_used(OLD.track_id, OLD.user_id, (SELECT file_url FROM public.tracks WHERE id = OLD.track_id), OLD.id)
    THEN
        -- No other post has it: the track follows its post to the new file, and playlists with it.
        NEW.track_id := OLD.track_id;
    END IF;
    IF NEW.track_id IS NULL THEN
        NEW.track_id := free_track_id(NEW.id);
        IF NEW.track_id <> NEW.id THEN
            -- Tells follow_post that no caller named this track.
            PERFORM set_config(
                'tracks_posts_separation.decided',
                concat_ws(' ', current_setting('tracks_posts_separation.decided', true), NEW.track_id),
                true
            );
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- AFTER INSERT OR UPDATE: makes the track, keeps it in step with the post that it is named after, releases the old one.
CREATE OR REPLACE FUNCTION tracks_posts_separation.follow_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    track public.tracks;
    other_content boolean := NEW.content COLLATE "C" IS DISTINCT FROM OLD.content COLLATE "C";
    other_file boolean := NEW.audio_url COLLATE "C" IS DISTINCT FROM OLD.audio_url COLLATE "C";
    other_name boolean := NEW.audio_filename COLLATE "C" IS DISTINCT FROM OLD.audio_filename COLLATE "C";
    other_type boolean := NEW.audio_mime_type COLLATE "C" IS DISTINCT FROM OLD.audio_mime_type COLLATE "C";
    other_size boolean := NEW.audio_file_size IS DISTINCT FROM OLD.audio_file_size;
    other_duration boolean := NEW.audio_duration IS DISTINCT FROM OLD.audio_duration;
    whole boolean;
BEGIN
    IF NEW.track_id IS NOT NULL THEN
        SELECT * INTO track FROM public.tracks AS t WHERE t.id = NEW.track_id;
        IF (NEW.track_id, NEW.user_id) IS DISTINCT FROM (OLD.track_id, OLD.user_id) AND (CASE
            WHEN track.id IS NOT NULL THEN track.user_id IS DISTINCT FROM NEW.user_id
            -- Decided by us: the id of this post, of a post of this file whose track is not made yet, or a new one.
            ELSE NEW.track_id <> NEW.id
                AND NOT EXISTS (
                    SELECT FROM public.posts AS p
                    WHERE p.id = NEW.track_id AND p.user_id = NEW.user_id
                      AND p.audio_url COLLATE "C" = NEW.audio_url COLLATE "C"
                )
                AND NEW.track_id::text <> ALL (pg_catalog.string_to_array(
                    coalesce(pg_catalog.current_setting('tracks_posts_separation.decided', true), ''), ' '
                ))
        END) THEN
            RAISE EXCEPTION 'the track % is not a track of the post''s user', NEW.track_id
                USING ERRCODE = 'foreign_key_violation', TABLE = 'posts', COLUMN = 'track_id';
        END IF;
        IF track.id IS NULL THEN
            PERFORM tracks_posts_separation.make_track(NEW.track_id, NEW.id, NEW.user_id);
        END IF;
    END IF;
    IF TG_OP = 'INSERT' THEN
        RETURN NULL;
    END IF;
    IF NEW.track_id IS NOT NULL
        AND (other_content OR other_file OR other_name OR other_type OR other_size OR other_duration
             OR NEW.updated_at > OLD.updated_at)
        AND tracks_posts_separation.is_named_after(NEW.track_id, NEW.id)
    THEN
        -- Only what changed in the post changes in its track: the new application may have edited the rest. A post that
        -- takes a track again which it had left to its reposts passes on everything.
        whole := coalesce(OLD.track_id <> NEW.track_id AND track.updated_at <= OLD.updated_at, false);
        PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
        IF other_content OR other_file OR other_name OR other_type OR other_size OR other_duration THEN
            -- Type, size and duration belong to the file and do not outlive it.
            UPDATE public.tracks AS t
            SET title = CASE WHEN whole OR other_name THEN v.title ELSE t.title END,
                description = CASE WHEN whole OR other_content THEN v.description ELSE t.description END,
                file_url = CASE
                    WHEN other_file AND NOT tracks_posts_separation.is_blank(v.file_url) THEN v.file_url ELSE t.file_url
                END,
                mime_type = CASE WHEN whole OR other_file OR other_type THEN v.mime_type ELSE t.mime_type END,
                file_size = CASE WHEN whole OR other_file OR other_size THEN v.file_size ELSE t.file_size END,
                original_file_size = CASE
                    WHEN whole OR other_file OR other_size THEN v.original_file_size ELSE t.original_file_size
                END,
                duration = CASE WHEN whole OR other_file OR other_duration THEN v.duration ELSE t.duration END,
                -- A track that was newer than its post stays newer: checks then know that its differences are wanted.
                updated_at = CASE
                    WHEN t.updated_at > OLD.updated_at
                    THEN greatest(t.updated_at, v.updated_at + interval '1 microsecond') ELSE v.updated_at
                END
            FROM tracks_posts_separation.track_of_post(NEW) AS v
            WHERE t.id = NEW.track_id AND t.user_id IS NOT DISTINCT FROM NEW.user_id;
        ELSE
            -- Only the time of the post moved: a track that was newer stays newer, too.
            UPDATE public.tracks AS t
            SET updated_at = NEW.updated_at + interval '1 microsecond'
            WHERE t.id = NEW.track_id AND t.user_id IS NOT DISTINCT FROM NEW.user_id
              AND t.updated_at > OLD.updated_at AND t.updated_at <= NEW.updated_at;
        END IF;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
    IF OLD.track_id IS NOT NULL AND NEW.track_id IS DISTINCT FROM OLD.track_id THEN
        PERFORM tracks_posts_separation.release_track(OLD.track_id, OLD.user_id, NEW.track_id, false);
    ELSIF OLD.track_id IS NULL AND NEW.track_id IS DISTINCT FROM OLD.id AND (NEW.post_type <> 'audio' OR other_file) THEN
        -- A repost may have made the track of this post before the backfill reached it.
        PERFORM tracks_posts_separation.release_track(OLD.id, OLD.user_id, NEW.track_id, false);
    END IF;
    RETURN NULL;
END
$$;

-- AFTER DELETE: remembers which track the post had, and releases it.
CREATE OR REPLACE FUNCTION tracks_posts_separation.forget_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
DECLARE
    track uuid := OLD.track_id;
BEGIN
    IF track IS NULL AND NOT is_blank(OLD.audio_url) THEN
        -- Not reached by the backfill: a repost may have made its track, or be making it now.
        PERFORM lock_slots('file', file_key(OLD.user_id, OLD.audio_url));
        SELECT id INTO track FROM public.tracks WHERE id = OLD.id AND user_id IS NOT DISTINCT FROM OLD.user_id;
    END IF;
    IF track IS NOT NULL AND OLD.user_id IS NOT NULL THEN
        INSERT INTO deleted_post (post_id, user_id, track_id) VALUES (OLD.id, OLD.user_id, track)
        ON CONFLICT (post_id, user_id) DO UPDATE SET track_id = excluded.track_id, deleted_at = excluded.deleted_at;
        PERFORM release_track(track, OLD.user_id, NULL, true);
    END IF;
    RETURN NULL;
END
$$;

-- AFTER INSERT or UPDATE of the id, on both tables: notes a track that has the id of a post and was not made by this plan.
-- AFTER UPDATE of tracks: also notes an edit that leaves updated_at as it was or sets it back.
CREATE OR REPLACE FUNCTION tracks_posts_separation.note_uploaded_track() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    IF TG_RELID = 'public.posts'::regclass THEN
        INSERT INTO uploaded_track (track_id, came_first)
        SELECT t.id, true
        FROM public.tracks AS t
        WHERE t.id = NEW.id
          AND NOT EXISTS (SELECT FROM deleted_post AS d WHERE d.post_id = t.id AND d.user_id = t.user_id)
          AND NOT EXISTS (SELECT FROM track_under_other_id AS o WHERE o.track_id = t.id)
        ON CONFLICT (track_id) DO UPDATE SET came_first = excluded.came_first;
        RETURN NULL;
    END IF;
    IF NEW.updated_at <= OLD.updated_at THEN
        INSERT INTO edited_track (track_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    END IF;
    IF NEW.id IS DISTINCT FROM OLD.id AND EXISTS (SELECT FROM public.posts AS p WHERE p.id = NEW.id) THEN
        INSERT INTO uploaded_track (track_id, came_first) VALUES (NEW.id, false)
        ON CONFLICT (track_id) DO UPDATE SET came_first = excluded.came_first;
    END IF;
    RETURN NULL;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the functions that hide a batch from the triggers of posts, and use them
-- lock: public.posts SHARE ROW EXCLUSIVE
-- A batch must leave updated_at alone. It runs under the replica role; where that is refused, the deployment's own
-- triggers of posts get a condition, from here until migration 4. They are never disabled, because the application writes.

-- The condition of a trigger that fires unless the session has set this parameter and belongs to the table's owner: any
-- session can set it.
CREATE OR REPLACE FUNCTION tracks_posts_separation.unless_set(parameter text, of_table pg_catalog.regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format(
        '(pg_catalog.current_setting(%L, true) IS DISTINCT FROM ''on'' OR NOT pg_catalog.pg_has_role(%L, ''USAGE''))',
        'tracks_posts_separation.' || parameter, pg_get_userbyid(relowner)
    )
    FROM pg_class
    WHERE oid = of_table
$$;

-- Hides the statements that follow in this transaction from the triggers of posts (true), or no longer (false). Under the
-- replica role no ordinary trigger of any table sees them, foreign keys included.
CREATE OR REPLACE FUNCTION tracks_posts_separation.quiet_posts(quiet boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM setting WHERE name = 'replica_role' AND value::boolean) THEN
        PERFORM set_config('session_replication_role', CASE WHEN quiet THEN 'replica' ELSE 'origin' END, true);
    ELSE
        PERFORM set_config('tracks_posts_separation.batch', CASE WHEN quiet THEN 'on' ELSE 'off' END, true);
    END IF;
END
$$;

-- Where the replica role is refused: gives the deployment's triggers of posts that condition (true), or their recorded
-- definitions back (false). Whoever drops or changes such a trigger in between must do it again after migration 4.
CREATE OR REPLACE FUNCTION tracks_posts_separation.quiet_post_triggers(quiet boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present record;
    parts text[];
BEGIN
    IF NOT quiet THEN
        FOR present IN DELETE FROM tracks_posts_separation.replaced WHERE kind = 'trigger' RETURNING definition LOOP
            EXECUTE regexp_replace(present.definition, '^CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER');
        END LOOP;
        RETURN;
    END IF;
    FOR present IN
        INSERT INTO tracks_posts_separation.replaced (kind, name, definition)
        SELECT 'trigger', tgname, pg_get_triggerdef(oid)
        FROM pg_trigger
        WHERE tgrelid = 'public.posts'::regclass
          AND NOT tgisinternal
          AND tgenabled = 'O'
          AND tgconstraint = 0
          AND tgtype::integer & 17 = 17      -- row level, and for UPDATE
          AND tgname NOT LIKE '%tracks\_posts\_separation%'
          AND EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'replica_role' AND NOT value::boolean)
        ON CONFLICT DO NOTHING
        RETURNING definition
    LOOP
        parts := regexp_match(
            present.definition, '^CREATE TRIGGER (.*?)(?: WHEN \((.*)\))? EXECUTE FUNCTION (.*)$'
        );
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER %s WHEN (%s AND (%s)) EXECUTE FUNCTION %s',
            parts[1], tracks_posts_separation.unless_set('batch', 'public.posts'), coalesce(parts[2], 'true'), parts[3]
        );
    END LOOP;
END
$$;

-- A call for the whole table is for development databases: on a full one it would lock rows for minutes.
CREATE OR REPLACE FUNCTION tracks_posts_separation.refuse_whole_table(posts_left text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_rows bigint := coalesce(
        nullif(current_setting('tracks_posts_separation.whole_table_limit_rows', true), '')::bigint, 100000
    );
    found_rows bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT FROM public.posts WHERE %s LIMIT %s) AS few', posts_left, most_rows + 1)
    INTO found_rows;
    IF found_rows > most_rows THEN
        RAISE EXCEPTION 'more than % posts are left: too many for one transaction on a database in use', most_rows
            USING HINT = 'Run it in committed batches: ansible-playbook migrate.yml. On a database that nobody uses: '
                'PGOPTIONS=''-c tracks_posts_separation.whole_table_limit_rows=1000000000''.';
    END IF;
END
$$;
SELECT tracks_posts_separation.close_to_applications();
SELECT tracks_posts_separation.quiet_post_triggers(true);

-- step: add the foreign key, and the triggers that note a track with the id of a post
-- lock: public.posts SHARE ROW EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- ON DELETE NO ACTION: SET NULL would collide with audio_posts_must_have_track (migration 4), CASCADE would delete posts.
-- Among AFTER triggers of posts, the one that notes comes before the one that makes the track.
DO $step$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'posts_track_id_fkey'
    ) THEN
        ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
            FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID;
    END IF;
    EXECUTE pg_catalog.format(
        'CREATE OR REPLACE TRIGGER zz_tracks_posts_separation_note'
        ' AFTER INSERT OR UPDATE OF'
        ' id, title, description, file_url, duration, file_size, mime_type, created_at, updated_at'
        ' ON public.tracks FOR EACH ROW WHEN %s'
        ' EXECUTE FUNCTION tracks_posts_separation.note_uploaded_track()',
        tracks_posts_separation.unless_set('makes_tracks', 'public.tracks')
    );
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_1_note"
        AFTER INSERT OR UPDATE OF id ON public.posts FOR EACH ROW
        EXECUTE FUNCTION tracks_posts_separation.note_uploaded_track();
END
$step$;

-- step: note the tracks that have the id of a post already
-- Before the compatibility triggers make tracks: the application made these. Which came first, post or track, is unknown;
-- came_first is false, because playlist entries name posts until migration 3.
INSERT INTO tracks_posts_separation.uploaded_track (track_id, came_first)
SELECT t.id, false
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger
    WHERE tgrelid = 'public.posts'::pg_catalog.regclass AND tgname = 'zz_tracks_posts_separation_decide_insert'
)
ON CONFLICT (track_id) DO NOTHING;

-- step: insert the tracks that an earlier rollback archived and that take no post's id
-- The others return with their posts, in migration 2. A track whose posts were deleted since stays in the archive.
DO $step$
DECLARE
    back uuid[] := ARRAY(
        SELECT a.track
        FROM (
            SELECT
                (row_data ->> 'id')::uuid AS track, (row_data ->> 'user_id')::uuid AS owner,
                row_data ->> 'file_url' AS file, row_data ? 'without_post' AS without_post
            FROM tracks_posts_separation.archive
            WHERE reason = 'reverted_track'
        ) AS a
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = a.track AND p.user_id = a.owner)
          AND (a.without_post OR EXISTS (SELECT FROM tracks_posts_separation.posts_of_file(a.owner, a.file)))
    );
BEGIN
    INSERT INTO tracks_posts_separation.track_under_other_id (track_id, post_id, user_id)
    SELECT (row_data ->> 'id')::uuid, (row_data ->> 'named_after')::uuid, (row_data ->> 'user_id')::uuid
    FROM tracks_posts_separation.archive
    WHERE reason = 'reverted_track' AND row_data ? 'named_after' AND (row_data ->> 'id')::uuid = ANY (back)
    ON CONFLICT DO NOTHING;
    INSERT INTO tracks_posts_separation.deleted_post (post_id, user_id, track_id)
    SELECT (row_data ->> 'id')::uuid, (row_data ->> 'user_id')::uuid, (row_data ->> 'id')::uuid
    FROM tracks_posts_separation.archive
    WHERE reason = 'reverted_track' AND NOT row_data ?| ARRAY['named_after', 'without_post']
      AND (row_data ->> 'id')::uuid = ANY (back)
    ON CONFLICT DO NOTHING;
    PERFORM tracks_posts_separation.return_archived_tracks(back);
    -- For triggers of the deployment that wait for the commit.
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
END
$step$;

-- step: create the compatibility triggers of posts
-- lock: public.posts SHARE ROW EXCLUSIVE
-- Names decide the order: the decision comes after all other BEFORE triggers, and the track is made before the foreign
-- key is checked (by RI_ConstraintTrigger...).
DO $step$
DECLARE
    created record;
BEGIN
    FOR created IN
        SELECT *
        FROM (VALUES
            ('zz_tracks_posts_separation_decide_insert', 'BEFORE INSERT', 'decide_track_of_post',
             'NEW.post_type = ''audio'' OR NEW.track_id IS NOT NULL'),
            ('zz_tracks_posts_separation_decide_update', 'BEFORE UPDATE', 'decide_track_of_post',
             'OLD.post_type = ''audio'' OR NEW.post_type = ''audio'' OR NEW.track_id IS NOT NULL'),
            ('A_tracks_posts_separation_follow_insert', 'AFTER INSERT', 'follow_post', 'NEW.track_id IS NOT NULL'),
            ('A_tracks_posts_separation_follow_update', 'AFTER UPDATE', 'follow_post',
             'OLD.post_type = ''audio'' OR OLD.track_id IS NOT NULL OR NEW.track_id IS NOT NULL'),
            ('A_tracks_posts_separation_forget', 'AFTER DELETE', 'forget_post',
             'OLD.post_type = ''audio'' OR OLD.track_id IS NOT NULL')
        ) AS t (name, event, function, condition)
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE OR REPLACE TRIGGER %I %s ON public.posts FOR EACH ROW WHEN ((%s)%s)'
            ' EXECUTE FUNCTION tracks_posts_separation.%I()',
            created.name, created.event, created.condition,
            CASE
                WHEN created.event LIKE '% UPDATE'
                THEN ' AND ' || tracks_posts_separation.unless_set('batch', 'public.posts')
            END,
            created.function
        );
    END LOOP;
END
$step$;
