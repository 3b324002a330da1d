-- Tracks vs Posts Separation, migration 2: data migration.
--
-- Makes one track per (user, file) of the audio posts and sets posts.track_id. A track takes the id of its post, the
-- earliest where several share user and file; a track that exists already wins. Nothing else of a post changes.

-- step: functions of the backfill
CREATE TABLE IF NOT EXISTS tracks_posts_separation.exception (
    post_id uuid PRIMARY KEY,
    track_id uuid NOT NULL
);

-- The few posts whose track is not their own id, found once: a batch then needs only keys.
-- Hash and merge joins whatever the statistics say: linear in the number of posts.
CREATE OR REPLACE FUNCTION tracks_posts_separation.find_exceptions() RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET enable_nestloop = off SET work_mem = '64MB'
AS $$
DECLARE
    found_rows bigint;
BEGIN
    DELETE FROM tracks_posts_separation.exception;
    WITH repeated AS (
        SELECT p.user_id, p.audio_url
        FROM public.posts AS p
        WHERE p.post_type = 'audio' AND p.track_id IS NULL
        GROUP BY p.user_id, p.audio_url
        HAVING pg_catalog.count(*) > 1
    ),
    original AS (
        SELECT DISTINCT ON (p.user_id, p.audio_url) p.user_id, p.audio_url, p.id
        FROM public.posts AS p
        JOIN repeated USING (user_id, audio_url)
        WHERE p.post_type = 'audio' AND p.track_id IS NULL
        ORDER BY p.user_id, p.audio_url, p.created_at, p.id
    ),
    library AS (
        SELECT DISTINCT ON (t.user_id, t.file_url) t.user_id, t.file_url, t.id
        FROM public.tracks AS t
        ORDER BY t.user_id, t.file_url, t.created_at, t.id
    )
    INSERT INTO tracks_posts_separation.exception (post_id, track_id)
    SELECT p.id, coalesce(library.id, original.id)
    FROM public.posts AS p
    LEFT JOIN library ON library.user_id = p.user_id AND library.file_url = p.audio_url
    LEFT JOIN original ON original.user_id = p.user_id AND original.audio_url = p.audio_url
    WHERE p.post_type = 'audio' AND p.track_id IS NULL AND coalesce(library.id, original.id) <> p.id;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    RETURN found_rows;
END
$$;

-- Migrates the audio posts with after_key < id <= upto_key (null: no bound) and returns their number.
-- Left alone: posts without a file or without a profile of their user; the verification below names them.
CREATE OR REPLACE FUNCTION tracks_posts_separation.migrate_audio_posts(after_key uuid, upto_key uuid) RETURNS bigint
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    low uuid := coalesce(after_key, '00000000-0000-0000-0000-000000000000');
    high uuid := coalesce(upto_key, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    ids uuid[];                     -- the posts of this batch, locked
    other_posts uuid[] := '{}';     -- those that take a track which exists, beside its id
    other_tracks uuid[] := '{}';
    open_posts uuid[] := '{}';      -- those whose track must be decided as a trigger decides it
    own_posts uuid[];               -- those whose track takes their id
    made uuid[];
    post record;
    known record;
    track uuid;
BEGIN
    IF after_key IS NULL AND upto_key IS NULL THEN
        PERFORM tracks_posts_separation.refuse_whole_table((
            SELECT pg_catalog.count(*)
            FROM (
                SELECT FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL
                LIMIT tracks_posts_separation.whole_table_limit() + 1
            ) AS few
        ));
    END IF;

    -- Accounts first, then their posts: the order in which the deletion of an account goes.
    PERFORM FROM (
        SELECT u.id
        FROM public.profiles AS u
        WHERE u.id IN (
            SELECT p.user_id
            FROM public.posts AS p
            WHERE p.id >= low AND (p.id > low OR after_key IS NULL) AND p.id <= high
              AND p.post_type = 'audio' AND (p.track_id IS NULL) IS TRUE
        )
        ORDER BY u.id
        FOR KEY SHARE
    ) AS locked;
    -- Then the rows, before anything is read from them. Not FOR UPDATE: that would stall the keys of comments.
    SELECT pg_catalog.array_agg(locked.id) INTO ids
    FROM (
        SELECT p.id
        FROM public.posts AS p
        WHERE p.id >= low AND (p.id > low OR after_key IS NULL) AND p.id <= high
          AND p.post_type = 'audio' AND (p.track_id IS NULL) IS TRUE
          AND NOT tracks_posts_separation.is_blank(p.audio_url)
          AND EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
        ORDER BY p.id
        FOR NO KEY UPDATE OF p
    ) AS locked;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;

    -- Exceptions whose track is there and still is the one of this user and file take it. Looked up by key and compared
    -- here: a join on user and file would be a nested loop over all tracks of a user while statistics are old.
    FOR post IN
        SELECT p.id, p.user_id, p.audio_url, e.track_id
        FROM tracks_posts_separation.exception AS e
        JOIN pg_catalog.unnest(ids) AS wanted (id) ON wanted.id = e.post_id
        JOIN public.posts AS p ON p.id = e.post_id
        WHERE e.post_id >= low AND e.post_id <= high
        ORDER BY e.track_id
    LOOP
        SELECT t.user_id, t.file_url INTO known FROM public.tracks AS t WHERE t.id = post.track_id FOR KEY SHARE;
        IF FOUND AND known.user_id = post.user_id AND known.file_url = post.audio_url THEN
            other_posts := other_posts || post.id;
            other_tracks := other_tracks || post.track_id;
        ELSE
            open_posts := open_posts || post.id;
        END IF;
    END LOOP;
    -- Before anything is inserted: a trigger that holds such a lock may wait for a track that we insert.
    PERFORM tracks_posts_separation.lock_files((
        SELECT pg_catalog.array_agg(tracks_posts_separation.file_key(p.user_id, p.audio_url))
        FROM pg_catalog.unnest(open_posts) AS wanted (id)
        JOIN public.posts AS p ON p.id = wanted.id
    ));

    SELECT coalesce(pg_catalog.array_agg(rest.id), '{}') INTO own_posts
    FROM (
        SELECT wanted.id FROM pg_catalog.unnest(ids) AS wanted (id)
        EXCEPT
        SELECT x.id FROM pg_catalog.unnest(other_posts || open_posts) AS x (id)
    ) AS rest;
    WITH inserted AS (
        INSERT INTO public.tracks (
            id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
            file_size, mime_type, original_file_size, compression_ratio, compression_applied
        )
        SELECT
            v.post_id, v.user_id, v.title, v.description, v.file_url, v.duration, v.is_public, v.created_at,
            v.updated_at, v.file_size, v.mime_type, v.file_size, 1.0, false
        FROM pg_catalog.unnest(own_posts) AS wanted (id)
        JOIN tracks_posts_separation.track_of_post AS v ON v.post_id = wanted.id
        -- The range again: without it the planner may read all posts for the few of a batch.
        WHERE v.post_id >= low AND v.post_id <= high
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    SELECT coalesce(pg_catalog.array_agg(inserted.id), '{}') INTO made FROM inserted;
    IF pg_catalog.cardinality(made) < pg_catalog.cardinality(own_posts) THEN
        -- A trigger made the track already; one of another user or file under this id is not ours to use.
        SELECT coalesce(pg_catalog.array_agg(wanted.id), '{}') INTO own_posts
        FROM pg_catalog.unnest(own_posts) AS wanted (id)
        JOIN public.posts AS p ON p.id = wanted.id
        JOIN public.tracks AS t ON t.id = p.id
        WHERE (t.user_id, t.file_url) IS NOT DISTINCT FROM (p.user_id, p.audio_url);
        PERFORM FROM public.tracks AS t WHERE t.id = ANY (own_posts) ORDER BY t.id FOR KEY SHARE;
        SELECT coalesce(pg_catalog.array_agg(rest.id), '{}') INTO open_posts
        FROM (
            SELECT wanted.id FROM pg_catalog.unnest(ids) AS wanted (id)
            EXCEPT
            SELECT x.id FROM pg_catalog.unnest(other_posts || own_posts) AS x (id)
        ) AS rest;
    END IF;

    FOR post IN
        SELECT p.id, p.user_id, p.audio_url
        FROM pg_catalog.unnest(open_posts) AS wanted (id)
        JOIN public.posts AS p ON p.id = wanted.id
        ORDER BY p.created_at, p.id
    LOOP
        PERFORM tracks_posts_separation.lock_files(
            ARRAY[tracks_posts_separation.file_key(post.user_id, post.audio_url)]
        );
        track := coalesce(
            tracks_posts_separation.known_track(post.id, post.user_id, post.audio_url),
            tracks_posts_separation.free_track_id(post.id)
        );
        PERFORM FROM public.tracks WHERE id = track FOR KEY SHARE;
        IF NOT FOUND THEN
            PERFORM tracks_posts_separation.make_track(track, post.id, post.user_id);
        END IF;
        other_posts := other_posts || post.id;
        other_tracks := other_tracks || track;
    END LOOP;

    -- No trigger of the table for this one statement (updated_at stays); every key above was checked or is locked.
    PERFORM tracks_posts_separation.quiet_posts(true);
    UPDATE public.posts AS p
    SET track_id = p.id
    FROM pg_catalog.unnest(own_posts) AS own (id)
    WHERE p.id = own.id AND p.id >= low AND p.id <= high;
    UPDATE public.posts AS p
    SET track_id = other.track_id
    FROM ROWS FROM (pg_catalog.unnest(other_posts), pg_catalog.unnest(other_tracks)) AS other (post_id, track_id)
    WHERE p.id = other.post_id AND p.id >= low AND p.id <= high;
    PERFORM tracks_posts_separation.quiet_posts(false);
    RETURN pg_catalog.cardinality(ids);
END
$$;

SELECT tracks_posts_separation.close_to_applications();

-- step: find the posts whose track is not named after them
-- A column just added has no statistics; a batch could then be planned through its index over all rows that are left.
ANALYZE public.posts;
SELECT tracks_posts_separation.find_exceptions();
ANALYZE tracks_posts_separation.exception;

-- step: migrate the audio posts
SELECT tracks_posts_separation.migrate_audio_posts(NULL, NULL);

-- step: vacuum and analyze posts
VACUUM (ANALYZE) public.posts;

-- step: vacuum and analyze tracks
VACUUM (ANALYZE) public.tracks;

-- step: verify that every audio post has its track
DO $step$
DECLARE
    wrong record;
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
    SELECT pg_catalog.count(*) AS posts, (pg_catalog.array_agg(p.id ORDER BY p.created_at, p.id))[1:5] AS examples
    INTO wrong
    FROM public.posts AS p
    LEFT JOIN public.tracks AS t ON t.id = p.track_id
    LEFT JOIN public.posts AS source ON source.id = t.id
    WHERE p.track_id IS NOT NULL
      AND (
          t.id IS NULL
          OR t.user_id <> p.user_id
          -- A track that is newer than its post was edited in the library since.
          OR (
              NOT tracks_posts_separation.is_blank(p.audio_url)
              AND t.file_url <> p.audio_url
              AND t.updated_at <= coalesce(source.updated_at, p.updated_at)
          )
      );
    IF wrong.posts > 0 THEN
        RAISE EXCEPTION '% posts point at a track of another user or file, for example %', wrong.posts, wrong.examples
            USING HINT = 'Nothing of this migration does that. Look at these posts before anything else is done.';
    END IF;
END
$step$;
