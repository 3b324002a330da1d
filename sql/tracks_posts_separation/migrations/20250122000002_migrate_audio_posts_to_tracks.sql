-- Tracks vs Posts Separation, migration 2: data migration.
--
-- Makes one track per (user, file) of the audio posts and sets posts.track_id. A track takes the id of its post, the
-- earliest where several share user and file; a track that exists already wins. Nothing else of a post changes.

-- step: functions of the backfill
-- Walked by the place of each post's file among the locks: two workers then never want the same one, and a batch holds few.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.exception (
    post_id uuid PRIMARY KEY,
    track_id uuid NOT NULL,
    place_and_post text COLLATE "C" NOT NULL UNIQUE
);

-- The few posts whose track is not their own id, found once: a batch then needs only keys.
-- A file whose hash is met once, and no track has, has one post. Only the few others are compared in full; the rest is two
-- scans, a sort of numbers (faster than a hash table of them) and a hash table whatever the statistics say.
CREATE OR REPLACE FUNCTION tracks_posts_separation.find_exceptions() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET work_mem = '64MB'
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
            -- By a hash before the file itself, so that texts are hardly compared where most files have several posts.
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

-- Whether most posts are still to be filled: then it pays to take the index away. Counted up to a limit, on both sides.
CREATE OR REPLACE FUNCTION tracks_posts_separation.most_posts_are_left() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT wanted.posts > 0 AND wanted.posts >= done.posts
    FROM (
        SELECT pg_catalog.count(*) AS posts
        FROM (
            SELECT
            FROM public.posts AS p
            WHERE p.post_type = 'audio'
              AND p.track_id IS NULL
              AND NOT tracks_posts_separation.is_blank(p.audio_url)
              AND EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
            LIMIT 10000
        ) AS few
    ) AS wanted
    CROSS JOIN (
        SELECT pg_catalog.count(*) AS posts
        FROM (SELECT FROM public.posts WHERE track_id IS NOT NULL LIMIT 10000) AS few
    ) AS done
$$;

-- The posts of a batch that are left when the others have their tracks: exceptions, and those whose track a trigger has
-- made already. Returns their number. The caller holds the locks of accounts and posts.
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
    -- The expected track, if it is there and still is the one of this user and file; locked in the order of its id. Looked up
    -- by key alone, from the posts: LATERAL keeps the planner from reading all tracks where it takes them for few, and IS TRUE
    -- from the index on the user, which it would read for every post through all tracks of that user.
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
        PERFORM tracks_posts_separation.lock_files(
            ARRAY[tracks_posts_separation.file_key(post.user_id, post.audio_url)]
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
    -- What waits for the commit runs under this path, too.
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    RETURN pg_catalog.cardinality(done_posts);
END
$$;

-- The files of posts that are locked, before anything is inserted: a trigger that holds such a lock may wait for a track
-- that we insert.
CREATE OR REPLACE FUNCTION tracks_posts_separation.lock_files_of(posts uuid[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    SELECT tracks_posts_separation.lock_files(ARRAY(
        SELECT tracks_posts_separation.file_key(p.user_id, p.audio_url)
        FROM public.posts AS p
        WHERE p.id = ANY (posts)
    ))
$$;

-- Whether no trigger need see that tracks are inserted by a batch: its only key is the one to the account, which a batch
-- has locked itself, nobody but us has a trigger there, and no constraint waits for one (a deferrable one does). Looked at in every batch: somebody may add one meanwhile. (In
-- plpgsql, which keeps the plan.)
CREATE OR REPLACE FUNCTION tracks_posts_separation.inserts_may_be_quiet() RETURNS boolean
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
              AND t.tgtype::integer & 4 = 4      -- for INSERT
              -- The runner's log does not write what the runner does.
              AND t.tgname NOT LIKE 'runbook\_change\_log\_%'
              AND t.tgname <> 'zz_tracks_posts_separation_note'
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_constraint AS c
            WHERE c.conrelid = 'public.tracks'::pg_catalog.regclass AND c.condeferrable AND c.contype <> 'f'
        )
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_constraint AS c
            WHERE c.conrelid = 'public.tracks'::pg_catalog.regclass
              AND c.contype = 'f'
              AND (c.confrelid, c.conkey, c.confkey) IS DISTINCT FROM (
                  'public.profiles'::pg_catalog.regclass::oid,
                  (
                      SELECT ARRAY[attnum] FROM pg_catalog.pg_attribute
                      WHERE attrelid = 'public.tracks'::pg_catalog.regclass AND attname = 'user_id'
                  ),
                  (
                      SELECT ARRAY[attnum] FROM pg_catalog.pg_attribute
                      WHERE attrelid = 'public.profiles'::pg_catalog.regclass AND attname = 'id'
                  )
              )
        );
END
$$;

-- What each batch begins with: no trigger of posts or tracks need see what it does, where that is allowed.
CREATE OR REPLACE FUNCTION tracks_posts_separation.begin_batch(OUT inserts_are_quiet boolean, OUT role_stays boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    inserts_are_quiet := tracks_posts_separation.inserts_may_be_quiet();
    -- A change of the replica role empties the session's plan cache. The runner's workers do nothing but batches: there
    -- it is changed once, and stays.
    role_stays := inserts_are_quiet
        AND coalesce(pg_catalog.current_setting('runbook.batch_session', true) = 'on', false);
    IF role_stays THEN
        PERFORM pg_catalog.set_config('session_replication_role', 'replica', false);
    ELSE
        -- An earlier batch of this session may have left the role behind.
        PERFORM tracks_posts_separation.quiet_posts(inserts_are_quiet);
    END IF;
END
$$;

-- The first posts of a range that want a track, in the order of their index whatever the statistics say: sorting a range
-- for its first posts takes longer than all that is done with them. The settings are for this one query.
-- Its one plan is made once per session: to plan it took as long as to move 10 posts.
--
-- Each account, then its posts: the order in which the deletion of an account goes; and both before anything is read from
-- them. Posts not FOR UPDATE: that would stall the keys of comments. What the key of tracks would lock is locked here,
-- whether or not it looks itself.
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

-- Migrates the audio posts with after_key < id <= upto_key (null: no bound), the first most_rows of them (null: all).
-- Returns how many, and the id of the last one that was looked at; null where the range is through.
-- Left alone: posts without a file or without a profile of their user; the verification below names them. With a limit,
-- the exceptions too: migrate_exceptions takes them all together.
--
-- A few statements for the many posts whose track takes their id, then one post at a time for the others. A range of keys
-- is all that the planner needs: statistics may be old, and of a range of uuid it believes a hundredth of the table,
-- for which it would read all accounts into a hash table in every batch.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_audio_posts(
    after_key uuid, upto_key uuid, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key uuid
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    low uuid := coalesce(after_key, '00000000-0000-0000-0000-000000000000');
    high uuid := coalesce(upto_key, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    tracks_are_public boolean := (
        SELECT value::boolean FROM tracks_posts_separation.setting WHERE name = 'migrated_tracks_are_public'
    );
    quiet record;
    ids uuid[];             -- the posts of this batch, locked
    exceptions uuid[];      -- those of them whose track is not named after them
    made uuid[];            -- the tracks that are inserted, each under the id of its post
    others uuid[];
BEGIN
    IF after_key IS NULL AND upto_key IS NULL AND most_rows IS NULL THEN
        PERFORM tracks_posts_separation.refuse_whole_table((
            SELECT pg_catalog.count(*)
            FROM (
                SELECT FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL
                LIMIT tracks_posts_separation.whole_table_limit() + 1
            ) AS few
        ));
    END IF;
    quiet := tracks_posts_separation.begin_batch();

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
        PERFORM tracks_posts_separation.bring_back_tracks(ARRAY(
            SELECT u.id FROM pg_catalog.unnest(ids) AS u (id) WHERE u.id <> ALL (exceptions)
        ));
    END IF;

    -- Not those that are there already: a trigger made them, or they are of another user. Asked for by their range, which
    -- is near to nothing; ON CONFLICT would look for each.
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
        SELECT
            p.id, p.user_id, look.title, p.content, p.audio_url, look.duration, tracks_are_public, p.created_at,
            p.updated_at, look.file_size, p.audio_mime_type, look.file_size, 1.0, false
        FROM public.posts AS p
        CROSS JOIN LATERAL tracks_posts_separation.look_of_track(
            p.audio_filename, p.audio_duration, p.audio_file_size, p.created_at
        ) AS look
        WHERE p.id = ANY (made);
    EXCEPTION WHEN unique_violation THEN
        -- A trigger made one of them at this moment, or another user inserted one. Now it is seen: one at a time, as a
        -- trigger does it.
        made := '{}';
    END;
    -- No trigger of posts for this one statement (updated_at stays). Nobody else can see these tracks yet, so none can
    -- go; and their key to the user was checked or is locked.
    IF NOT quiet.inserts_are_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    UPDATE public.posts AS p SET track_id = p.id WHERE p.id = ANY (made);
    IF NOT quiet.inserts_are_quiet THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
        -- What waits for the commit runs under this path, too.
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
        PERFORM tracks_posts_separation.migrate_other_posts(others, quiet.inserts_are_quiet);
    END IF;
    IF quiet.inserts_are_quiet AND NOT quiet.role_stays THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
END
$$;

-- The same for the listed exceptions, when the tracks of the other posts are there: two batches that lock the files of
-- their exceptions wait for each other, and whoever made the track of a repost first would stop the batch of its post.
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
    quiet := tracks_posts_separation.begin_batch();
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
    rows_moved := tracks_posts_separation.migrate_other_posts(ids, quiet.inserts_are_quiet);
    IF quiet.inserts_are_quiet AND NOT quiet.role_stays THEN
        PERFORM tracks_posts_separation.quiet_posts(false);
    END IF;
END
$$;

-- The same for all posts at once, for a maintenance window: the caller's transaction holds the tables until it ends,
-- all of it is done or nothing. Same rows in the end. posts is rewritten once, with the column filled on the way: no row
-- trigger sees that, and all indexes come out compact. Returns the number of posts.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_audio_posts_offline() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    posts_before bigint;
    found record;
    triggers_of_posts text[] := '{}';
    definition text;
    own_triggers_of_tracks boolean;
    left_over uuid[];
BEGIN
    LOCK TABLE public.profiles IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE public.posts, public.tracks IN ACCESS EXCLUSIVE MODE;
    -- A check that waits for the commit would stand in the way of ALTER TABLE and CREATE INDEX.
    SET CONSTRAINTS ALL IMMEDIATE;
    IF NOT tracks_posts_separation.is_filling() THEN
        -- Little is left, or the index and the key were here before us: not worth a rewrite, which takes them along.
        RETURN (
            SELECT done.rows_moved
            FROM tracks_posts_separation.migrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff') AS done
        );
    END IF;
    PERFORM tracks_posts_separation.bring_back_tracks(ARRAY(
        SELECT p.id
        FROM tracks_posts_separation.archive AS a
        JOIN public.posts AS p ON p.id = (a.row_data ->> 'id')::uuid
        WHERE a.reason = 'reverted_track' AND p.post_type = 'audio' AND p.track_id IS NULL
          AND NOT tracks_posts_separation.is_blank(p.audio_url)
          AND NOT EXISTS (SELECT FROM tracks_posts_separation.exception AS e WHERE e.post_id = p.id)
    ));
    -- Posts whose track does not take their id, or may not: decided below, as a batch decides it. The list of exceptions
    -- is from the step before; each is looked at again.
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

    -- Their users are there and cannot go, so the key needs no look at each row: the triggers of tracks may rest, unless
    -- the deployment has row triggers of its own there.
    SELECT pg_catalog.count(*) > 0 INTO own_triggers_of_tracks
    FROM pg_catalog.pg_trigger
    WHERE tgrelid = 'public.tracks'::pg_catalog.regclass
      AND NOT tgisinternal AND tgenabled <> 'D'
      AND tgname <> 'zz_tracks_posts_separation_note'
      AND tgtype::integer & 5 = 5;      -- row level, and for INSERT
    own_triggers_of_tracks := own_triggers_of_tracks OR EXISTS (
        SELECT
        FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.tracks'::pg_catalog.regclass AND condeferrable AND contype <> 'f'
    );
    DROP INDEX IF EXISTS public.tracks_posts_separation_tracks_file;
    IF NOT own_triggers_of_tracks THEN
        PERFORM tracks_posts_separation.quiet_posts(true);
    END IF;
    DELETE FROM tracks_posts_separation.uploaded_track AS u
    WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = u.track_id);
    PERFORM
        pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true),
        pg_catalog.set_config('tracks_posts_separation.makes_tracks', 'on', true);
    INSERT INTO public.tracks (
        id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
        file_size, mime_type, original_file_size, compression_ratio, compression_applied
    )
    SELECT
        p.id, p.user_id, look.title, p.content, p.audio_url, look.duration, setting.value::boolean, p.created_at,
        p.updated_at, look.file_size, p.audio_mime_type, look.file_size, 1.0, false
    FROM public.posts AS p
    CROSS JOIN LATERAL tracks_posts_separation.look_of_track(
        p.audio_filename, p.audio_duration, p.audio_file_size, p.created_at
    ) AS look
    JOIN tracks_posts_separation.setting ON setting.name = 'migrated_tracks_are_public'
    WHERE p.post_type = 'audio' AND p.track_id IS NULL AND NOT tracks_posts_separation.is_blank(p.audio_url)
      AND NOT EXISTS (SELECT FROM pg_temp.not_by_id AS n WHERE n.id = p.id);
    GET DIAGNOSTICS posts_before = ROW_COUNT;
    PERFORM tracks_posts_separation.quiet_posts(false);
    CREATE INDEX tracks_posts_separation_tracks_file
        ON public.tracks (user_id, pg_catalog.hashtextextended(file_url COLLATE "C", 0));

    -- Triggers with a condition on the column cannot stay while it is rewritten; nobody writes meanwhile.
    -- Their definitions as they are written under our path, and made again under it.
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
        triggers_of_posts := triggers_of_posts || found.definition || CASE found.tgenabled
            WHEN 'D' THEN pg_catalog.format('ALTER TABLE public.posts DISABLE TRIGGER %I', found.tgname)
            WHEN 'R' THEN pg_catalog.format('ALTER TABLE public.posts ENABLE REPLICA TRIGGER %I', found.tgname)
            WHEN 'A' THEN pg_catalog.format('ALTER TABLE public.posts ENABLE ALWAYS TRIGGER %I', found.tgname)
            ELSE pg_catalog.format('ALTER TABLE public.posts ENABLE TRIGGER %I', found.tgname)
        END || pg_catalog.format('COMMENT ON TRIGGER %I ON public.posts IS %L', found.tgname, found.remark);
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

-- step: see whether the fill goes without index and key of posts.track_id
-- With the index an update can never stay on its page's chain: every index of posts gets a new entry for every post.
-- A second run with little left to fill leaves everything where it is; so does one that found them here before us.
INSERT INTO tracks_posts_separation.setting (name, value)
SELECT 'fill_is_wanted', 'true'
WHERE tracks_posts_separation.most_posts_are_left()
  AND NOT EXISTS (
      SELECT FROM tracks_posts_separation.existed_before
      WHERE (kind, name) IN (('constraint', 'posts_track_id_fkey'), ('index', 'idx_posts_track_id'))
  )
ON CONFLICT (name) DO NOTHING;

-- step: index and key of posts.track_id go for the fill, a stand-in keeps what the key promises
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- One transaction: there is no moment with a key and without its index, nor one without key and stand-in.
DO $step$
BEGIN
    IF NOT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'fill_is_wanted') THEN
        RETURN;
    END IF;
    DELETE FROM tracks_posts_separation.setting WHERE name = 'fill_is_wanted';
    INSERT INTO tracks_posts_separation.setting (name, value)
    VALUES ('fill_without_index', 'posts were not looked at')
    ON CONFLICT (name) DO NOTHING;
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_keep_track"
        AFTER DELETE OR UPDATE OF id, file_url ON public.tracks FOR EACH ROW
        EXECUTE FUNCTION tracks_posts_separation.keep_tracks_of_posts();
    CREATE OR REPLACE TRIGGER "A_tracks_posts_separation_keep_tracks"
        BEFORE TRUNCATE ON public.tracks FOR EACH STATEMENT
        EXECUTE FUNCTION tracks_posts_separation.keep_tracks_of_posts();
    ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS posts_track_id_fkey;
    DROP INDEX IF EXISTS public.idx_posts_track_id;
END
$step$;

-- step: find the posts whose track is not named after them
-- A column just added has no statistics; a batch could then be planned through its index over all rows that are left.
ANALYZE public.posts (id, user_id, post_type, audio_url, track_id);
SELECT tracks_posts_separation.find_exceptions();
INSERT INTO tracks_posts_separation.setting (name, value)
VALUES ('exceptions_are_listed', 'true')
ON CONFLICT (name) DO NOTHING;
ANALYZE tracks_posts_separation.exception;
-- The stand-in finds posts by the file of their track; where one has another file it must look further, and until this
-- is known it does.
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
-- Before the index comes: one index less to clean.
VACUUM (ANALYZE) public.posts;

-- step: vacuum and analyze tracks
VACUUM (ANALYZE) public.tracks;

-- step: clear an unusable index of an earlier attempt
SELECT tracks_posts_separation.clear_unusable_index(
    'idx_posts_track_id', 'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
);

-- step: index idx_posts_track_id is back
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

-- step: foreign key posts_track_id_fkey is back, not validated yet
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- The stand-in goes with the same commit.
DO $step$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'posts_track_id_fkey'
    ) THEN
        ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
            FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID;
    END IF;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_keep_track" ON public.tracks;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_keep_tracks" ON public.tracks;
    DELETE FROM tracks_posts_separation.setting
    WHERE name IN ('fill_is_wanted', 'fill_without_index', 'posts_of_other_files');
END
$step$;

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
        -- The runner's checks compare every post with its track next, and show those that differ.
        RETURN;
    END IF;
    -- Posts that differ are few: only for them the post that the track is named after is looked up.
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
            USING HINT = 'Nothing of this migration does that. Look at these posts before anything else is done.';
    END IF;
    DELETE FROM tracks_posts_separation.setting WHERE name = 'exceptions_are_listed';
END
$step$;
