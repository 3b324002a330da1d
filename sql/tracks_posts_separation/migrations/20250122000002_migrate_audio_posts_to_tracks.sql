-- Tracks vs Posts Separation, migration 2: data migration.
--
-- Makes one track per (user, file) of the audio posts and sets posts.track_id. A track takes the id of its post, of the
-- earliest where several share user and file; a track that exists already wins. Nothing else of a post changes.
-- Migration 1 explains names, files and planner pins.

-- step: create the stand-in for posts_track_id_fkey during the fill
-- The column is filled without its index and foreign key: with the index no update is HOT, so every index of posts
-- gets a new entry for every post. Meanwhile triggers enforce the foreign key, with its messages.

-- is_used during the fill: posts are found by the file that they share with their track. Once a post of another file has
-- the track of its user, the posts of that user are searched too.
CREATE OR REPLACE FUNCTION tracks_posts_separation.is_used_during_fill(
    track uuid, owner uuid, file text, other_than uuid
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM posts_of_file(owner, file) AS p
        WHERE (p.track_id = track) IS TRUE AND p.id IS DISTINCT FROM other_than
    ) OR (
        EXISTS (
            SELECT FROM setting
            WHERE name = 'posts_of_other_files' OR (name = 'fill_without_index' AND value <> 'true')
        )
        AND EXISTS (
            SELECT FROM public.posts AS p
            WHERE p.user_id = owner AND (p.track_id = track) IS TRUE AND p.id IS DISTINCT FROM other_than
        )
    );
END
$$;

-- Notes that such a post may exist. It stays noted until the fill ends.
CREATE OR REPLACE FUNCTION tracks_posts_separation.expect_posts_of_other_files() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$ INSERT INTO setting (name, value) VALUES ('posts_of_other_files', 'true') ON CONFLICT (name) DO NOTHING $$;

-- On tracks: refuses to delete a track that a post has, to change its id, or to truncate the table.
CREATE OR REPLACE FUNCTION tracks_posts_separation.keep_tracks_of_posts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'cannot truncate a table referenced in a foreign key constraint'
            USING ERRCODE = 'feature_not_supported',
                DETAIL = 'Table "posts" references "tracks".',
                HINT = 'Truncate table "posts" at the same time, or use TRUNCATE ... CASCADE.';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.id = OLD.id THEN
        IF NEW.file_url COLLATE "C" <> OLD.file_url COLLATE "C" AND is_used(OLD.id, OLD.user_id, OLD.file_url, NULL) THEN
            PERFORM expect_posts_of_other_files();
        END IF;
    ELSIF is_used(OLD.id, OLD.user_id, OLD.file_url, NULL) THEN
        RAISE EXCEPTION
            'update or delete on table "tracks" violates foreign key constraint "posts_track_id_fkey" on table "posts"'
            USING ERRCODE = 'foreign_key_violation',
                DETAIL = format('Key (id)=(%s) is still referenced from table "posts".', OLD.id),
                SCHEMA = 'public', TABLE = 'posts', CONSTRAINT = 'posts_track_id_fkey';
    END IF;
    RETURN NULL;
END
$$;

-- On posts, after the trigger that makes the track: refuses a track_id that is no track, and locks the track.
CREATE OR REPLACE FUNCTION tracks_posts_separation.hold_track_of_post() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
DECLARE
    file text;
BEGIN
    SELECT t.file_url INTO file FROM public.tracks AS t WHERE t.id = NEW.track_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'insert or update on table "posts" violates foreign key constraint "posts_track_id_fkey"'
            USING ERRCODE = 'foreign_key_violation',
                DETAIL = format('Key (track_id)=(%s) is not present in table "tracks".', NEW.track_id),
                SCHEMA = 'public', TABLE = 'posts', CONSTRAINT = 'posts_track_id_fkey';
    END IF;
    IF NEW.post_type <> 'audio' OR NEW.audio_url COLLATE "C" IS DISTINCT FROM file COLLATE "C" THEN
        PERFORM expect_posts_of_other_files();
    END IF;
    RETURN NULL;
END
$$;

-- Ends the fill, also one that a rollback finds interrupted. The foreign key returns in the transaction that drops the
-- triggers.
CREATE OR REPLACE FUNCTION tracks_posts_separation.end_fill() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = 'public.posts'::regclass AND conname = 'posts_track_id_fkey'
    ) THEN
        ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
            FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID;
    END IF;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_keep_track" ON public.tracks;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_keep_tracks" ON public.tracks;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_hold_track" ON public.posts;
    DELETE FROM setting WHERE name IN ('fill_is_wanted', 'fill_without_index', 'posts_of_other_files');
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the function that lists the exceptions
-- Lists the posts whose track is not their own id, once: a batch then needs only keys. A file whose hash occurs once, and
-- which no track has, has one post; only the few others are compared in full. The rest is two scans, a sort of numbers
-- (faster than a hash table of them) and one hash table.
CREATE OR REPLACE FUNCTION tracks_posts_separation.find_exceptions() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp SET enable_nestloop = off SET work_mem = '64MB'
AS $$
DECLARE
    found_rows bigint;
BEGIN
    DELETE FROM tracks_posts_separation.exception;
    INSERT INTO tracks_posts_separation.exception (post_id, track_id, place_and_post)
    WITH to_look_at AS MATERIALIZED (
        SELECT hash
        FROM (
            SELECT pg_catalog.hashtextextended(p.audio_url COLLATE "C", pg_catalog.uuid_hash_extended(p.user_id, 0)) AS hash
            FROM public.posts AS p
            WHERE (p.post_type = 'audio') IS TRUE AND (p.track_id IS NULL) IS TRUE
            ORDER BY 1
        ) AS sorted
        GROUP BY hash
        HAVING pg_catalog.count(*) > 1
        UNION ALL
        SELECT pg_catalog.hashtextextended(t.file_url COLLATE "C", pg_catalog.uuid_hash_extended(t.user_id, 0))
        FROM public.tracks AS t
    ),
    audio_post AS (
        SELECT p.id, p.user_id, p.audio_url, pg_catalog.first_value(p.id) OVER file AS original
        FROM public.posts AS p
        WHERE (p.post_type = 'audio') IS TRUE AND (p.track_id IS NULL) IS TRUE
          AND pg_catalog.hashtextextended(p.audio_url COLLATE "C", pg_catalog.uuid_hash_extended(p.user_id, 0))
              IN (SELECT hash FROM to_look_at)
        WINDOW file AS (
            -- The hash first: texts are hardly compared where most files have several posts.
            PARTITION BY p.user_id, pg_catalog.hashtextextended(p.audio_url COLLATE "C", 0), p.audio_url COLLATE "C"
            ORDER BY p.created_at, p.id
        )
    ),
    library AS (
        SELECT DISTINCT ON (t.user_id, t.file_url COLLATE "C") t.user_id, t.file_url COLLATE "C" AS file_url, t.id
        FROM public.tracks AS t
        ORDER BY t.user_id, t.file_url COLLATE "C", t.created_at, t.id
    )
    SELECT
        p.id,
        coalesce(library.id, p.original),
        pg_catalog.lpad(tracks_posts_separation.file_key(p.user_id, p.audio_url)::text, 4, '0') || ' ' || p.id
    FROM audio_post AS p
    LEFT JOIN library ON library.user_id = p.user_id AND library.file_url = p.audio_url COLLATE "C"
    WHERE coalesce(library.id, p.original) <> p.id;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    RETURN found_rows;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the functions of a batch
-- Whether no trigger need see a batch that inserts tracks, or deletes some (event). Asked in each batch: the right to
-- change the role is there; no trigger but our note and the runner's log, which leaves out the runner's writes; and no
-- constraint but those that a batch enforces itself: tracks.user_id, posts.track_id.
CREATE OR REPLACE FUNCTION tracks_posts_separation.may_be_quiet(event text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM setting WHERE name = 'replica_role' AND value::boolean)
        AND NOT EXISTS (
            SELECT
            FROM pg_trigger AS t
            WHERE t.tgrelid = 'public.tracks'::regclass AND NOT t.tgisinternal AND t.tgenabled <> 'D'
              AND t.tgtype::integer & CASE event WHEN 'INSERT' THEN 4 WHEN 'DELETE' THEN 8 END <> 0
              AND t.tgname NOT LIKE 'runbook\_change\_log\_%' AND t.tgname <> 'zz_tracks_posts_separation_note'
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_constraint AS c
            LEFT JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attname = 'user_id'
            LEFT JOIN pg_attribute AS f ON f.attrelid = c.confrelid AND f.attname = 'id'
            WHERE event = 'INSERT' AND c.conrelid = 'public.tracks'::regclass
              AND CASE
                  WHEN c.contype <> 'f' THEN c.condeferrable
                  ELSE (c.confrelid, c.conkey, c.confkey)
                      IS DISTINCT FROM ('public.profiles'::regclass::oid, ARRAY[a.attnum], ARRAY[f.attnum])
              END
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_constraint AS c
            LEFT JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attname = 'track_id'
            WHERE event = 'DELETE' AND c.confrelid = 'public.tracks'::regclass AND c.contype = 'f'
              AND (c.conrelid, c.conkey) IS DISTINCT FROM ('public.posts'::regclass::oid, ARRAY[a.attnum])
        );
END
$$;

-- Begins each batch. role_stays: a change of the replica role empties the session's plan cache. The runner's workers do
-- nothing but batches, so there it is changed once.
CREATE OR REPLACE FUNCTION tracks_posts_separation.begin_batch(event text, OUT is_quiet boolean, OUT role_stays boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
BEGIN
    is_quiet := may_be_quiet(event);
    role_stays := is_quiet AND coalesce(current_setting('runbook.batch_session', true) = 'on', false);
    IF role_stays THEN
        PERFORM set_config('session_replication_role', 'replica', false);
    ELSE
        -- An earlier batch of this session may have left the role behind.
        PERFORM quiet_posts(is_quiet);
    END IF;
END
$$;

-- Locks the first posts of a range that need a track, in the order of their index.
-- Each account, then its posts: the order in which the deletion of an account goes; and both before anything is read from
-- them. The accounts are locked as the foreign key of tracks would do it. Posts not FOR UPDATE: whoever
-- comments on one would wait for the batch, because of the foreign key of comments.
CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_posts_without_track(
    low uuid, with_low boolean, high uuid, most_rows integer
) RETURNS SETOF uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT p.id
    FROM public.posts AS p
    JOIN public.profiles AS u ON u.id = p.user_id
    WHERE p.id >= low AND (p.id > low OR with_low) AND p.id <= high
      AND p.post_type = 'audio' AND (p.track_id IS NULL) IS TRUE
      AND NOT tracks_posts_separation.is_blank(p.audio_url)
    ORDER BY p.id
    LIMIT most_rows
    FOR KEY SHARE OF u
    FOR NO KEY UPDATE OF p;
END
$$;

-- Locks the files of posts that are locked, before anything is inserted: a trigger that holds such a lock may wait for a
-- track that we insert.
CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_files_of(posts uuid[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
    SELECT lock_slots('file', VARIADIC ARRAY(
        SELECT file_key(p.user_id, p.audio_url) FROM public.posts AS p WHERE p.id = ANY (posts)
    ))
$$;

-- Migrates those posts of a batch that are left when the others have their tracks: exceptions, and those whose track a
-- trigger has made already. The caller holds the locks of accounts and posts. Returns their number.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_other_posts(posts uuid[], already_quiet boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    done_posts uuid[];
    done_tracks uuid[];
    post record;
    track uuid;
BEGIN
    -- The expected track, if it exists and still belongs to this user and file; locked in the order of its id. Looked up
    -- by key alone, from the posts.
    SELECT coalesce(pg_catalog.array_agg(wanted.post_id), '{}'), coalesce(pg_catalog.array_agg(same.id), '{}')
    INTO done_posts, done_tracks
    FROM (
        SELECT p.id AS post_id, p.user_id, p.audio_url, coalesce(e.track_id, p.id) AS track_id
        FROM public.posts AS p
        LEFT JOIN tracks_posts_separation.exception AS e ON e.post_id = p.id
        WHERE p.id = ANY (posts)
        ORDER BY coalesce(e.track_id, p.id)
        OFFSET 0
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT t.id
        FROM public.tracks AS t
        WHERE t.id = wanted.track_id
          AND (t.user_id = wanted.user_id AND t.file_url COLLATE "C" = wanted.audio_url COLLATE "C") IS TRUE
        FOR KEY SHARE
    ) AS same;
    FOR post IN
        SELECT p.id, p.user_id, p.audio_url
        FROM public.posts AS p
        WHERE p.id = ANY (ARRAY(
            SELECT u.id FROM pg_catalog.unnest(posts) AS u (id)
            EXCEPT ALL
            SELECT d.id FROM pg_catalog.unnest(done_posts) AS d (id)
        ))
        ORDER BY p.created_at, p.id
    LOOP
        -- Decided as a trigger decides it. For an exception the caller holds this lock already.
        PERFORM tracks_posts_separation.lock_slots(
            'file', tracks_posts_separation.file_key(post.user_id, post.audio_url)
        );
        track := coalesce(
            tracks_posts_separation.known_track(post.id, post.user_id, post.audio_url),
            tracks_posts_separation.free_track_id(post.id)
        );
        PERFORM FROM public.tracks AS t WHERE t.id = track FOR KEY SHARE;
        IF NOT FOUND THEN
            BEGIN
                PERFORM tracks_posts_separation.make_track(track, post.id, post.user_id);
            EXCEPTION WHEN unique_violation THEN
                -- Another user has inserted a track under this id at this moment.
                track := tracks_posts_separation.free_track_id(post.id);
                PERFORM tracks_posts_separation.make_track(track, post.id, post.user_id);
            END;
        END IF;
        done_posts := done_posts || post.id;
        done_tracks := done_tracks || track;
    END LOOP;
    -- Every track above was made by this transaction or is locked.
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    IF NOT already_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    UPDATE public.posts AS p
    SET track_id = done.track_id
    FROM ROWS FROM (pg_catalog.unnest(done_posts), pg_catalog.unnest(done_tracks)) AS done (post_id, track_id)
    WHERE p.id = done.post_id;
    IF NOT already_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    RETURN pg_catalog.cardinality(done_posts);
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the backfill
-- Migrates the audio posts with after_key < id <= upto_key (null: no bound), the first most_rows of them (null: all).
-- Returns how many, and the id of the last one that was looked at; null where the range is through.
-- Left alone: posts without a file or without a profile of their user, which the verification below names. With a limit
-- also the exceptions, which migrate_exceptions takes together.
--
-- A few statements for the many posts whose track takes their id, then one post at a time for the others. Of a range of
-- uuid the planner expects a hundredth of the table, for which it would hash all accounts in every batch: hence the pins.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_audio_posts(
    after_key uuid, upto_key uuid, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key uuid
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    low uuid := coalesce(after_key, '00000000-0000-0000-0000-000000000000');
    high uuid := coalesce(upto_key, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    quiet record;
    ids uuid[];             -- the posts of this batch, locked
    exceptions uuid[];      -- those of them whose track does not take their id
    made uuid[];            -- those whose track is inserted, under their id
    others uuid[];
BEGIN
    -- A caller that locks the tables itself names the last key (ffffffff-...) and is not refused.
    IF after_key IS NULL AND upto_key IS NULL AND most_rows IS NULL THEN
        PERFORM tracks_posts_separation.refuse_whole_table('post_type = ''audio'' AND track_id IS NULL');
    END IF;
    quiet := tracks_posts_separation.begin_batch('INSERT');

    ids := ARRAY(
        SELECT locked.id
        FROM tracks_posts_separation.lock_posts_without_track(low, after_key IS NULL, high, most_rows) AS locked (id)
    );
    IF pg_catalog.cardinality(ids) = most_rows THEN
        last_key := ids[most_rows];
        high := last_key;
    END IF;
    exceptions := ARRAY(
        SELECT e.post_id
        FROM tracks_posts_separation.exception AS e
        WHERE e.post_id >= low AND e.post_id <= high AND e.post_id = ANY (ids)
    );
    IF pg_catalog.cardinality(exceptions) > 0 AND most_rows IS NULL THEN
        PERFORM tracks_posts_separation.lock_files_of(exceptions);
    END IF;

    IF EXISTS (SELECT FROM tracks_posts_separation.archive WHERE reason = 'reverted_track') THEN
        PERFORM tracks_posts_separation.return_archived_tracks(ARRAY(
            SELECT u.id FROM pg_catalog.unnest(ids) AS u (id) WHERE u.id <> ALL (exceptions)
        ));
    END IF;

    -- Tracks that exist already were made by a trigger or belong to another user. They are found by the range of keys,
    -- which costs almost nothing; ON CONFLICT would look up each.
    made := ARRAY(
        SELECT u.id
        FROM pg_catalog.unnest(ids) AS u (id)
        EXCEPT ALL
        SELECT e.id
        FROM pg_catalog.unnest(exceptions) AS e (id)
        EXCEPT ALL
        SELECT t.id
        FROM public.tracks AS t
        WHERE t.id >= low AND t.id <= high
    );
    -- The uploads that had these ids are gone.
    DELETE FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = ANY (made);
    PERFORM
        pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
    BEGIN
        INSERT INTO public.tracks (
            id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
            file_size, mime_type, original_file_size, compression_ratio, compression_applied
        )
        SELECT v.*
        FROM public.posts AS p
        CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
        WHERE p.id = ANY (made);
    EXCEPTION WHEN unique_violation THEN
        -- A trigger made one of them at this moment, or another user inserted one: one at a time, as a trigger does it.
        made := '{}';
    END;
    -- No trigger of posts sees this statement (updated_at stays). No other session sees these tracks yet, so none can be
    -- deleted; and their key to the user was checked or is locked.
    IF NOT quiet.is_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    UPDATE public.posts AS p SET track_id = p.id WHERE p.id = ANY (made);
    IF NOT quiet.is_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
        SET CONSTRAINTS ALL IMMEDIATE;
    END IF;
    PERFORM
        pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'off', true);

    rows_moved := pg_catalog.cardinality(ids)
        - CASE WHEN most_rows IS NULL THEN 0 ELSE pg_catalog.cardinality(exceptions) END;
    IF pg_catalog.cardinality(made) < rows_moved THEN
        others := ARRAY(
            SELECT u.id
            FROM pg_catalog.unnest(ids) AS u (id)
            EXCEPT ALL
            SELECT m.id
            FROM pg_catalog.unnest(made) AS m (id)
            EXCEPT ALL
            SELECT e.id
            FROM pg_catalog.unnest(exceptions) AS e (id)
            WHERE most_rows IS NOT NULL
        );
        PERFORM tracks_posts_separation.migrate_other_posts(others, quiet.is_quiet);
    END IF;
    IF quiet.is_quiet AND NOT quiet.role_stays THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
END
$$;

-- The same for the listed exceptions, once the tracks of the other posts exist: batches that lock the files of their
-- exceptions would wait for each other, and a track that is made for a repost would stop the batch of its original.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_exceptions(
    after_key text, upto_key text, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    quiet record;
    listed text[];
    ids uuid[];
BEGIN
    quiet := tracks_posts_separation.begin_batch('INSERT');
    listed := ARRAY(
        SELECT e.place_and_post
        FROM tracks_posts_separation.exception AS e
        WHERE e.place_and_post > coalesce(after_key, '') AND e.place_and_post <= coalesce(upto_key, '~')
        ORDER BY e.place_and_post
        LIMIT most_rows
    );
    IF pg_catalog.cardinality(listed) = most_rows THEN
        last_key := listed[most_rows];
    END IF;
    ids := ARRAY(
        SELECT p.id
        FROM public.posts AS p
        JOIN public.profiles AS u ON u.id = p.user_id
        WHERE p.id = ANY (ARRAY(
                SELECT pg_catalog.substr(l.place_and_post, 6)::uuid FROM pg_catalog.unnest(listed) AS l (place_and_post)
            ))
          AND p.post_type = 'audio' AND (p.track_id IS NULL) IS TRUE
          AND NOT tracks_posts_separation.is_blank(p.audio_url)
        ORDER BY p.id
        FOR KEY SHARE OF u
        FOR NO KEY UPDATE OF p
    );
    PERFORM tracks_posts_separation.lock_files_of(ids);
    rows_moved := tracks_posts_separation.migrate_other_posts(ids, quiet.is_quiet);
    IF quiet.is_quiet AND NOT quiet.role_stays THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the fill for a maintenance window
-- All posts at once: the caller's transaction holds the tables until it ends. Same rows in the end. posts is rewritten
-- once, with the column filled on the way: no row trigger fires, and all indexes come out compact. Returns the number of
-- posts.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_audio_posts_offline() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    posts_before bigint;
    found record;
    triggers_of_posts text[] := '{}';
    definition text;
    left_over uuid[];
BEGIN
    LOCK TABLE public.profiles IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE public.posts, public.tracks IN ACCESS EXCLUSIVE MODE;
    -- Pending deferred checks would make ALTER TABLE and CREATE INDEX fail.
    SET CONSTRAINTS ALL IMMEDIATE;
    IF NOT tracks_posts_separation.is_filling() THEN
        -- Little is left, or index and key existed before: not worth a rewrite, which would rebuild them, too.
        RETURN (
            SELECT done.rows_moved
            FROM tracks_posts_separation.migrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff') AS done
        );
    END IF;
    PERFORM tracks_posts_separation.return_archived_tracks(ARRAY(
        SELECT p.id
        FROM tracks_posts_separation.archive AS a
        JOIN public.posts AS p ON p.id = (a.row_data ->> 'id')::uuid
        WHERE a.reason = 'reverted_track' AND p.post_type = 'audio' AND p.track_id IS NULL
          AND NOT tracks_posts_separation.is_blank(p.audio_url)
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.exception AS e WHERE e.post_id = p.id)
    ));
    -- Posts whose track does not take their id, or may not: decided below, as a batch decides it. The exceptions were
    -- listed by an earlier step, so each is checked again.
    DROP TABLE IF EXISTS pg_temp.not_by_id;
    CREATE TEMPORARY TABLE not_by_id ON COMMIT DROP AS
    SELECT p.id, p.user_id, p.audio_url, e.track_id AS expected_track, u.id IS NOT NULL AS has_profile
    FROM public.posts AS p
    LEFT JOIN public.profiles AS u ON u.id = p.user_id
    LEFT JOIN public.tracks AS t ON t.id = p.id
    LEFT JOIN tracks_posts_separation.exception AS e ON e.post_id = p.id
    WHERE p.post_type = 'audio' AND p.track_id IS NULL AND NOT tracks_posts_separation.is_blank(p.audio_url)
      AND (u.id IS NULL OR t.id IS NOT NULL OR e.post_id IS NOT NULL);
    ANALYZE pg_temp.not_by_id;

    -- Their users exist and are locked, so no row need be checked.
    DROP INDEX IF EXISTS public.tracks_posts_separation_tracks_file;
    IF tracks_posts_separation.may_be_quiet('INSERT') THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    -- Uploads that are gone: their ids may now be those of tracks that we make.
    DELETE FROM tracks_posts_separation.uploaded_track AS u
    WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = u.track_id);
    PERFORM
        pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
    INSERT INTO public.tracks (
        id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
        file_size, mime_type, original_file_size, compression_ratio, compression_applied
    )
    SELECT v.*
    FROM public.posts AS p
    CROSS JOIN LATERAL tracks_posts_separation.track_of_post(p) AS v
    WHERE p.post_type = 'audio' AND p.track_id IS NULL AND NOT tracks_posts_separation.is_blank(p.audio_url)
      AND NOT EXISTS (SELECT FROM pg_temp.not_by_id AS n WHERE n.id = p.id);
    GET DIAGNOSTICS posts_before = ROW_COUNT;
    PERFORM tracks_posts_separation.quiet_posts(false);
    CREATE INDEX tracks_posts_separation_tracks_file
        ON public.tracks (user_id, pg_catalog.hashtextextended(file_url COLLATE "C", 0));

    -- Triggers with a condition on the column cannot stay while it is rewritten. Their definitions are read under this
    -- path, and so name everything in full.
    PERFORM
        pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'off', true);
    FOR found IN
        SELECT
            t.tgname, t.tgenabled, pg_catalog.pg_get_triggerdef(t.oid) AS definition,
            pg_catalog.obj_description(t.oid, 'pg_trigger') AS remark
        FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = 'public.posts'::pg_catalog.regclass AND NOT t.tgisinternal
          AND EXISTS (
              SELECT
              FROM pg_catalog.pg_depend AS d
              JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
              WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = t.oid
                AND d.refobjid = t.tgrelid AND a.attname = 'track_id'
          )
        ORDER BY t.tgname
    LOOP
        triggers_of_posts := triggers_of_posts || ARRAY[
            found.definition,
            pg_catalog.format('ALTER TABLE public.posts %s TRIGGER %I', CASE found.tgenabled
                WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE'
            END, found.tgname),
            pg_catalog.format('COMMENT ON TRIGGER %I ON public.posts IS %L', found.tgname, found.remark)
        ];
        EXECUTE pg_catalog.format('DROP TRIGGER %I ON public.posts', found.tgname);
    END LOOP;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    ALTER TABLE public.posts ALTER COLUMN track_id TYPE uuid USING (
        CASE
            WHEN post_type = 'audio' AND track_id IS NULL AND NOT tracks_posts_separation.is_blank(audio_url) THEN id
            ELSE track_id
        END
    );
    FOREACH definition IN ARRAY triggers_of_posts LOOP
        EXECUTE definition;
    END LOOP;

    PERFORM tracks_posts_separation.quiet_posts(true);
    UPDATE public.posts AS p
    SET track_id = t.id
    FROM pg_temp.not_by_id AS n
    LEFT JOIN public.tracks AS t
        ON t.id = n.expected_track AND t.user_id = n.user_id AND n.has_profile
        AND t.file_url COLLATE "C" = n.audio_url COLLATE "C"
    WHERE p.id = n.id;
    PERFORM tracks_posts_separation.quiet_posts(false);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    left_over := ARRAY(
        SELECT n.id
        FROM pg_temp.not_by_id AS n
        JOIN public.posts AS p ON p.id = n.id
        WHERE n.has_profile AND p.track_id IS NULL
    );
    IF pg_catalog.cardinality(left_over) > 0 THEN
        PERFORM tracks_posts_separation.migrate_other_posts(left_over, false);
    END IF;
    CREATE INDEX IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);
    RETURN posts_before + (SELECT pg_catalog.count(*) FROM pg_temp.not_by_id WHERE has_profile);
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: decide whether to fill without index and foreign key of posts.track_id
-- Only where most posts are left: a second run with little to fill leaves everything in place, and so does one that found
-- them here. Both sides are counted up to a limit.
INSERT INTO tracks_posts_separation.setting (name, value)
SELECT 'fill_is_wanted', 'true'
FROM (
    SELECT pg_catalog.count(*) AS posts
    FROM (
        SELECT
        FROM public.posts AS p
        WHERE p.post_type = 'audio' AND p.track_id IS NULL AND NOT tracks_posts_separation.is_blank(p.audio_url)
          AND EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
        LIMIT 10000
    ) AS few
) AS wanted
CROSS JOIN (
    SELECT pg_catalog.count(*) AS posts
    FROM (SELECT FROM public.posts WHERE track_id IS NOT NULL LIMIT 10000) AS few
) AS done
WHERE wanted.posts > 0 AND wanted.posts >= done.posts
  AND NOT EXISTS (
      SELECT FROM tracks_posts_separation.existed_before
      WHERE (kind, name) IN (('constraint', 'posts_track_id_fkey'), ('index', 'idx_posts_track_id'))
  )
ON CONFLICT (name) DO NOTHING;

-- step: drop index and foreign key of posts.track_id during the fill; triggers enforce the key
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- One transaction: there is no moment with a key and without its index, nor one without key and stand-in.
DO $step$
DECLARE
    not_a_batch text := tracks_posts_separation.unless_set('batch', 'public.posts');
BEGIN
    DELETE FROM tracks_posts_separation.setting WHERE name = 'fill_is_wanted';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO tracks_posts_separation.setting (name, value)
    VALUES ('fill_without_index', 'posts were not looked at')
    ON CONFLICT (name) DO NOTHING;
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_keep_track"
        AFTER DELETE OR UPDATE OF id, file_url ON public.tracks FOR EACH ROW
        EXECUTE FUNCTION tracks_posts_separation.keep_tracks_of_posts();
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_keep_tracks"
        BEFORE TRUNCATE ON public.tracks FOR EACH STATEMENT
        EXECUTE FUNCTION tracks_posts_separation.keep_tracks_of_posts();
    EXECUTE pg_catalog.format(
        'CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_hold_track"'
        ' AFTER INSERT OR UPDATE ON public.posts FOR EACH ROW WHEN (NEW.track_id IS NOT NULL AND %s)'
        ' EXECUTE FUNCTION tracks_posts_separation.hold_track_of_post()', not_a_batch
    );
    ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS posts_track_id_fkey;
    DROP INDEX IF EXISTS public.idx_posts_track_id;
END
$step$;

-- step: list the posts whose track does not take their id
-- A column just added has no statistics; a batch could then be planned through its index over all rows that are left.
ANALYZE public.posts (id, user_id, post_type, audio_url, track_id);
SELECT tracks_posts_separation.find_exceptions();
INSERT INTO tracks_posts_separation.setting (name, value)
VALUES ('exceptions_are_listed', 'true')
ON CONFLICT (name) DO NOTHING;
ANALYZE tracks_posts_separation.exception;
-- The stand-in finds posts by the file of their track. Until it is known that no post has another file, it searches on.
DO $step$
BEGIN
    IF tracks_posts_separation.is_filling() THEN
        IF EXISTS (
            SELECT
            FROM public.posts AS p
            LEFT JOIN public.tracks AS t ON t.id = p.track_id
            WHERE p.track_id IS NOT NULL
              AND (p.post_type <> 'audio' OR p.audio_url COLLATE "C" IS DISTINCT FROM t.file_url COLLATE "C")
        ) THEN
            PERFORM tracks_posts_separation.expect_posts_of_other_files();
        END IF;
        UPDATE tracks_posts_separation.setting SET value = 'true' WHERE name = 'fill_without_index';
    END IF;
END
$step$;

-- step: migrate the audio posts
SELECT tracks_posts_separation.migrate_audio_posts(NULL, NULL);

-- step: vacuum and analyze posts
-- Before the index returns: one index less to clean.
VACUUM (ANALYZE) public.posts;

-- step: vacuum and analyze tracks
VACUUM (ANALYZE) public.tracks;

-- step: drop an unusable index of an earlier attempt
SELECT tracks_posts_separation.clear_unusable_index(
    'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
);

-- step: index posts.track_id again
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

-- step: add the foreign key posts_track_id_fkey again, not validated, in place of the triggers
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
SELECT tracks_posts_separation.end_fill();

-- step: verify that every audio post has its track
DO $step$
DECLARE
    wrong record;
    others uuid[];
BEGIN
    SELECT pg_catalog.count(*) AS posts, (pg_catalog.array_agg(p.id ORDER BY p.created_at, p.id))[1:5] AS examples
    INTO wrong
    FROM public.posts AS p
    WHERE p.post_type = 'audio' AND p.track_id IS NULL;
    IF wrong.posts > 0 THEN
        RAISE EXCEPTION '% audio posts have no track, for example %', wrong.posts, wrong.examples
            USING HINT = 'They have a blank audio_url, or their user has no profile. Repair them (an UPDATE of such a '
                'post makes its track) and run again.';
    END IF;
    IF coalesce(pg_catalog.current_setting('runbook.run_id', true), '') <> '' THEN
        -- The runner's checks compare every post with its track next and list those that differ.
        RETURN;
    END IF;
    -- Posts that differ are few: only for them the post that the track is named after is read.
    others := ARRAY(
        SELECT p.id
        FROM (
            SELECT p.id, p.user_id, p.audio_url, p.created_at, p.updated_at, p.track_id
            FROM public.posts AS p
            LEFT JOIN public.tracks AS t ON t.id = p.track_id
            WHERE p.track_id IS NOT NULL
              AND (t.id IS NULL OR t.user_id <> p.user_id OR t.file_url COLLATE "C" <> p.audio_url COLLATE "C")
            OFFSET 0
        ) AS p
        LEFT JOIN LATERAL (SELECT * FROM public.tracks AS own WHERE own.id = p.track_id OFFSET 0) AS t ON true
        LEFT JOIN LATERAL (SELECT * FROM public.posts AS named WHERE named.id = p.track_id OFFSET 0) AS source
            ON source.user_id = p.user_id
        WHERE t.id IS NULL
            OR t.user_id <> p.user_id
            -- A track that is newer than its post was edited in the library since.
            OR (
                NOT tracks_posts_separation.is_blank(p.audio_url)
                AND t.updated_at <= coalesce(source.updated_at, p.updated_at)
            )
        ORDER BY p.created_at, p.id
    );
    IF pg_catalog.cardinality(others) > 0 THEN
        RAISE EXCEPTION '% posts point at a track of another user or file, for example %',
            pg_catalog.cardinality(others), others[1:5]
            USING HINT = 'No statement of this migration does that. Examine these posts before anything else is done.';
    END IF;
    DELETE FROM tracks_posts_separation.setting WHERE name = 'exceptions_are_listed';
END
$step$;
