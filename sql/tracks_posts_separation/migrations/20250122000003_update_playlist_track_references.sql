-- Tracks vs Posts Separation, migration 3: playlist entries point at tracks.
--
-- playlist_tracks.track_id holds post ids until here, and almost every track carries the id of its post: only entries
-- of reposts change. Where two entries of a playlist become one, the lower position stays and the other is archived.

-- step: clear an unusable index of an earlier attempt
SELECT tracks_posts_separation.clear_unusable_index(
    'tracks_posts_separation_posts_other_track',
    'CREATE INDEX tracks_posts_separation_posts_other_track ON public.posts USING btree (id, track_id) WHERE (track_id <> id)'
);

-- step: index that finds the posts whose track has another id
CREATE INDEX CONCURRENTLY IF NOT EXISTS tracks_posts_separation_posts_other_track
    ON public.posts (id, track_id) WHERE track_id <> id;

-- step: function that translates what the old application sends
-- Whoever adds a track to a playlist holds the lock of this place until its transaction ends: one of 1024 rows, as with files.
CREATE OR REPLACE FUNCTION tracks_posts_separation.entry_place(playlist uuid, track uuid) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.hashtext(playlist::text || track::text) & 1023 $$;

-- The old application sends the id of a post. An id that is a track's is left alone: the new application sends those.
CREATE OR REPLACE FUNCTION tracks_posts_separation.translate_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    translated uuid;
    kept uuid;
    caller name := coalesce(nullif(pg_catalog.current_setting('role', true), 'none'), session_user);
    may_write boolean;
BEGIN
    IF NEW.track_id IS NULL
        OR TG_OP = 'UPDATE' AND NEW.track_id = OLD.track_id AND NEW.playlist_id = OLD.playlist_id
    THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM public.tracks WHERE id = NEW.track_id) THEN
        SELECT track_id INTO translated FROM public.posts WHERE id = NEW.track_id;
        IF translated IS NULL THEN
            RETURN NEW;     -- neither a track nor a post with one: the key says no
        END IF;
    ELSE
        -- A post and another user's track have this id. Whichever came first is meant: anybody can insert a row under an id
        -- that is there.
        SELECT p.track_id INTO translated
        FROM public.posts AS p
        JOIN public.tracks AS t ON t.id = p.id
        WHERE p.id = NEW.track_id AND p.track_id <> p.id AND p.user_id <> t.user_id
          AND NOT EXISTS (
              SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id AND u.came_first
          );
    END IF;
    -- Two sessions that add a post and its repost must see each other.
    PERFORM tracks_posts_separation.lock_slots(
        'entry', ARRAY[tracks_posts_separation.entry_place(NEW.playlist_id, coalesce(translated, NEW.track_id))]
    );
    SELECT id INTO kept
    FROM public.playlist_tracks
    WHERE playlist_id = NEW.playlist_id AND track_id = coalesce(translated, NEW.track_id) AND id <> NEW.id;
    IF NOT FOUND AND translated IS NULL THEN
        RETURN NEW;
    END IF;
    -- The id of a track that is a post's too: the old application may have meant another post of this file, which it
    -- could add beside the one that is listed. Of a file without reposts it could not, and is told so by the key.
    IF translated IS NULL AND NOT EXISTS (
        SELECT FROM public.posts WHERE track_id = NEW.track_id AND id <> NEW.track_id
    ) THEN
        RETURN NEW;
    END IF;
    IF kept IS NOT NULL THEN
        -- Refused silently only to who may write here: row-level security has not looked at this row yet, and an
        -- answer to anybody else would tell what is in a private playlist.
        SELECT r.rolbypassrls OR r.rolsuper OR pg_catalog.pg_has_role(caller, c.relowner, 'USAGE')
        INTO may_write
        FROM pg_catalog.pg_roles AS r
        CROSS JOIN pg_catalog.pg_class AS c
        WHERE r.rolname = caller AND c.oid = TG_RELID;
        IF NOT coalesce(may_write, false) THEN
            may_write := EXISTS (
                SELECT FROM public.playlists WHERE id = NEW.playlist_id AND user_id = auth.uid()
            );
        END IF;
        IF may_write THEN
            INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
            VALUES (
                'request_met_entry',
                'public.playlist_tracks',
                tracks_posts_separation.row_document(NEW)
                    || tracks_posts_separation.merged_into(kept, coalesce(translated, NEW.track_id)),
                tracks_posts_separation.run_id()
            );
            RETURN NULL;
        END IF;
    END IF;
    IF translated <> NEW.track_id THEN
        -- A rollback gives the entry the post that was asked for.
        INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
        VALUES (
            'entry_repointed',
            'public.playlist_tracks',
            tracks_posts_separation.row_document(NEW) || pg_catalog.jsonb_build_object('new_track_id', translated),
            tracks_posts_separation.run_id()
        );
    END IF;
    NEW.track_id := coalesce(translated, NEW.track_id);
    RETURN NEW;
END
$$;
-- Only index lookups, beginning at the entries that are given: some are moved while the application waits for its tables.
-- LATERAL with OFFSET 0 fixes which side is looked up, whatever the statistics say.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.moved_entry (
    id uuid PRIMARY KEY,
    playlist_id uuid NOT NULL,
    old_track_id uuid NOT NULL,
    new_track_id uuid NOT NULL,
    position integer NOT NULL,
    added_at timestamptz NOT NULL
);

-- Points entries at the track of the post that they name, and returns how many. Those whose post has another track than
-- one of these (null: any) are left alone.
CREATE OR REPLACE FUNCTION tracks_posts_separation.point_entries_at_tracks(entries uuid[], tracks uuid[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    listed bigint;
    is_exact boolean := tracks_posts_separation.rows_are_exact_in_json('public.playlist_tracks');
BEGIN
    DELETE FROM tracks_posts_separation.moved_entry WHERE id = ANY (entries);
    INSERT INTO tracks_posts_separation.moved_entry (id, playlist_id, old_track_id, new_track_id, position, added_at)
    SELECT e.id, e.playlist_id, e.track_id, p.track_id, e.position, e.added_at
    FROM public.playlist_tracks AS e
    CROSS JOIN LATERAL (SELECT * FROM public.posts AS found WHERE found.id = e.track_id OFFSET 0) AS p
    WHERE e.id = ANY (entries) AND p.track_id <> p.id AND (tracks IS NULL OR p.track_id = ANY (tracks));
    GET DIAGNOSTICS listed = ROW_COUNT;

    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    -- Entries that will name the same track as another entry of their playlist: the lower position stays.
    -- IS NOT DISTINCT FROM keeps the planner from reading whole playlists by their index.
    WITH moved AS (
        SELECT m.id, m.playlist_id, m.new_track_id, m.position, m.added_at
        FROM tracks_posts_separation.moved_entry AS m
        WHERE m.id = ANY (entries)
    ),
    competing AS (
        SELECT id, playlist_id, new_track_id, position, added_at FROM moved
        UNION
        SELECT e.id, e.playlist_id, e.track_id, e.position, e.added_at
        FROM moved
        CROSS JOIN LATERAL (
            SELECT *
            FROM public.playlist_tracks AS found
            WHERE found.track_id = moved.new_track_id AND found.playlist_id IS NOT DISTINCT FROM moved.playlist_id
            OFFSET 0
        ) AS e
        WHERE NOT EXISTS (SELECT FROM moved AS also WHERE also.id = e.id)
    ),
    ranked AS (
        SELECT id, new_track_id, pg_catalog.first_value(id) OVER same AS kept
        FROM competing
        WINDOW same AS (PARTITION BY playlist_id, new_track_id ORDER BY position, added_at, id)
    ),
    gone AS (
        DELETE FROM public.playlist_tracks AS e
        USING ranked
        WHERE ranked.id = e.id AND ranked.kept <> ranked.id
        RETURNING
            e.id,
            CASE WHEN is_exact THEN pg_catalog.to_jsonb(e) ELSE tracks_posts_separation.row_document(e) END
                || tracks_posts_separation.merged_into(ranked.kept, ranked.new_track_id) AS row_data
    ),
    not_moved AS (
        DELETE FROM tracks_posts_separation.moved_entry AS m USING gone WHERE gone.id = m.id
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT
        'entry_collapsed',
        'public.playlist_tracks',
        -- One that was pointed at the track before: a rollback gives it the post that it named.
        gone.row_data || pg_catalog.jsonb_build_object('track_id', coalesce(
            tracks_posts_separation.recorded_post(gone.id, (gone.row_data ->> text 'track_id')::uuid),
            (gone.row_data ->> text 'track_id')::uuid
        )),
        tracks_posts_separation.run_id()
    FROM gone;

    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT
        'entry_repointed',
        'public.playlist_tracks',
        CASE WHEN is_exact THEN pg_catalog.to_jsonb(e) ELSE tracks_posts_separation.row_document(e) END
            || pg_catalog.jsonb_build_object('new_track_id', m.new_track_id),
        tracks_posts_separation.run_id()
    FROM tracks_posts_separation.moved_entry AS m
    JOIN public.playlist_tracks AS e ON e.id = m.id
    WHERE m.id = ANY (entries);
    BEGIN
        UPDATE public.playlist_tracks AS e
        SET track_id = m.new_track_id
        FROM tracks_posts_separation.moved_entry AS m
        WHERE e.id = m.id AND m.id = ANY (entries);
    EXCEPTION WHEN unique_violation OR exclusion_violation THEN
        -- An entry must leave the id that another one takes: in rounds, each moves those whose place is free.
        LOOP
            UPDATE public.playlist_tracks AS e
            SET track_id = m.new_track_id
            FROM tracks_posts_separation.moved_entry AS m
            WHERE e.id = m.id AND m.id = ANY (entries)
              AND e.track_id <> m.new_track_id
              AND NOT EXISTS (
                  SELECT FROM public.playlist_tracks AS o
                  WHERE o.track_id = m.new_track_id AND o.playlist_id IS NOT DISTINCT FROM e.playlist_id
              );
            EXIT WHEN NOT FOUND;
        END LOOP;
    END;
    -- What waits for the commit runs under this path, too.
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF EXISTS (
        SELECT
        FROM tracks_posts_separation.moved_entry AS m
        JOIN public.playlist_tracks AS e ON e.id = m.id
        WHERE m.id = ANY (entries) AND e.track_id <> m.new_track_id
    ) THEN
        RAISE EXCEPTION 'entries of public.playlist_tracks cannot take the id of their track: it is taken in their playlist';
    END IF;
    DELETE FROM tracks_posts_separation.moved_entry WHERE id = ANY (entries);
    RETURN listed;
END
$$;

-- Entries of posts whose track is not named after them: those of posts whose id is a track of others by now (true); or of
-- none, or of one that another user has inserted since (false): while its post was there first, an entry names the post.
-- The planner takes `track_id <> id` for true of almost every post and would read the tables: the settings keep it at the
-- index that was built for this.
CREATE OR REPLACE FUNCTION tracks_posts_separation.entries_of_reposts(id_is_a_track boolean) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT e.id
    FROM public.posts AS p
    LEFT JOIN LATERAL (
        SELECT
            found.id,
            found.user_id <> p.user_id AND NOT EXISTS (
                SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = found.id AND u.came_first
            ) AS came_later
        FROM public.tracks AS found
        WHERE found.id = p.id
        OFFSET 0
    ) AS t ON true
    CROSS JOIN LATERAL (SELECT id FROM public.playlist_tracks AS found WHERE found.track_id = p.id OFFSET 0) AS e
    WHERE p.track_id <> p.id AND CASE WHEN id_is_a_track THEN t.id IS NOT NULL ELSE coalesce(t.came_later, true) END
$$;

-- What the batches walk: by the place of each entry among the locks, so that two workers never want the same one.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.entry_of_repost (
    id uuid PRIMARY KEY,
    place_and_entry text COLLATE "C" NOT NULL UNIQUE
);

-- Moves entries that name a post and no track, and returns their number.
CREATE OR REPLACE FUNCTION tracks_posts_separation.move_entries_of_reposts(wanted uuid[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    entries uuid[];
    tracks uuid[];
BEGIN
    entries := ARRAY(
        SELECT e.id
        FROM public.playlist_tracks AS e
        WHERE e.id = ANY (wanted)
          AND EXISTS (
              SELECT
              FROM public.posts AS p
              LEFT JOIN public.tracks AS t ON t.id = p.id
              WHERE p.id = e.track_id AND p.track_id <> p.id
                -- No track, or one that another user has inserted since under the id of this post.
                AND (
                    t.id IS NULL OR t.user_id <> p.user_id AND NOT EXISTS (
                        SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id AND u.came_first
                    )
                )
          )
        ORDER BY e.id
        FOR UPDATE OF e
    );
    IF pg_catalog.cardinality(entries) = 0 THEN
        RETURN 0;
    END IF;
    -- As the trigger does: who adds this track to the playlist at this moment and we must see each other.
    PERFORM tracks_posts_separation.lock_slots('entry', ARRAY(
        SELECT tracks_posts_separation.entry_place(e.playlist_id, p.track_id)
        FROM public.playlist_tracks AS e
        JOIN public.posts AS p ON p.id = e.track_id
        WHERE e.id = ANY (entries)
    ));
    -- Nobody takes the tracks away before the entries name them.
    tracks := ARRAY(
        SELECT t.id
        FROM public.tracks AS t
        WHERE t.id = ANY (ARRAY(
            SELECT p.track_id
            FROM public.playlist_tracks AS e
            JOIN public.posts AS p ON p.id = e.track_id
            WHERE e.id = ANY (entries)
        ))
        ORDER BY t.id
        FOR KEY SHARE
    );
    RETURN tracks_posts_separation.point_entries_at_tracks(entries, tracks);
END
$$;

-- The same for the listed entries with after_key < place_and_entry <= upto_key (null: no bound), the first most_rows of them (null:
-- all); last_key is null where the range is through. From the swap on no such entry can come: the trigger translates.
CREATE OR REPLACE FUNCTION tracks_posts_separation.move_listed_entries(
    after_key text, upto_key text, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    listed text[] := ARRAY(
        SELECT l.place_and_entry
        FROM tracks_posts_separation.entry_of_repost AS l
        WHERE l.place_and_entry > coalesce(after_key, '') AND l.place_and_entry <= coalesce(upto_key, '~')
        ORDER BY l.place_and_entry
        LIMIT most_rows
    );
BEGIN
    IF pg_catalog.cardinality(listed) = most_rows THEN
        last_key := listed[most_rows];
    END IF;
    rows_moved := tracks_posts_separation.move_entries_of_reposts(ARRAY(
        SELECT pg_catalog.substr(l.place_and_entry, 6)::uuid FROM pg_catalog.unnest(listed) AS l (place_and_entry)
    ));
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: swap the key of the playlist entries
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- One statement, so that it is one transaction whoever applies the file: the old key goes, the new key comes, and from the
-- same instant post ids are translated. The application waits for it, so it moves only the entries that nobody could tell
-- apart later: those of a post whose id is the track of others by now. The rest is moved in batches, below: until then
-- they name their post, which the old application goes on finding.
DO $step$
DECLARE
    old_key record;
BEGIN
    -- A check that waits for the commit would stand in the way of ALTER TABLE.
    SET CONSTRAINTS ALL IMMEDIATE;
    SELECT
        tracks_posts_separation.constraint_definition(conrelid, conname) AS definition, convalidated, confrelid,
        pg_catalog.obj_description(oid, 'pg_constraint') AS remark
    INTO old_key
    FROM pg_catalog.pg_constraint
    WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass
      AND conname = 'playlist_tracks_track_id_fkey'
      AND contype = 'f';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'public.playlist_tracks has no key playlist_tracks_track_id_fkey to swap'
            USING HINT = 'If the key to public.posts has another name: ALTER TABLE public.playlist_tracks RENAME '
                'CONSTRAINT ... TO playlist_tracks_track_id_fkey.';
    END IF;
    IF old_key.confrelid = 'public.tracks'::pg_catalog.regclass THEN
        RETURN;
    END IF;
    IF pg_catalog.strpos(old_key.definition, ' REFERENCES public.posts(id)') = 0 THEN
        RAISE EXCEPTION 'the key playlist_tracks_track_id_fkey does not reference public.posts (id): %', old_key.definition
            USING HINT = 'ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey, ADD CONSTRAINT '
                'playlist_tracks_track_id_fkey FOREIGN KEY (track_id) REFERENCES public.posts (id) ON DELETE CASCADE;';
    END IF;
    INSERT INTO tracks_posts_separation.replaced (kind, name, definition, was_valid, remark)
    VALUES ('key', 'playlist_tracks_track_id_fkey', old_key.definition, old_key.convalidated, old_key.remark)
    ON CONFLICT (kind, name) DO UPDATE
    SET definition = excluded.definition, was_valid = excluded.was_valid, remark = excluded.remark;
    ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey;

    PERFORM tracks_posts_separation.point_entries_at_tracks(
        ARRAY(SELECT tracks_posts_separation.entries_of_reposts(true)), NULL
    );
    -- The same key with another target: match type, actions, deferrability and comment stay.
    EXECUTE pg_catalog.format(
        'ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey %s NOT VALID',
        pg_catalog.replace(old_key.definition, ' REFERENCES public.posts(id)', ' REFERENCES public.tracks(id)')
    );
    EXECUTE pg_catalog.format(
        'COMMENT ON CONSTRAINT playlist_tracks_track_id_fkey ON public.playlist_tracks IS %L', old_key.remark
    );
    CREATE OR REPLACE TRIGGER zz_tracks_posts_separation_translate
        BEFORE INSERT OR UPDATE OF track_id, playlist_id ON public.playlist_tracks FOR EACH ROW
        EXECUTE FUNCTION tracks_posts_separation.translate_entry();
    INSERT INTO tracks_posts_separation.setting (name, value)
    VALUES ('playlists_reference_tracks', 'true')
    ON CONFLICT (name) DO NOTHING;

    -- The REST API derives joins from keys: playlist_tracks?select=*,posts(*) resolves through this function now.
    CREATE OR REPLACE FUNCTION public.posts(entry public.playlist_tracks) RETURNS SETOF public.posts
    LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS $function$
        SELECT p.*
        FROM public.posts AS p
        WHERE p.track_id = entry.track_id
           -- Not moved yet.
           OR (p.id = entry.track_id AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = entry.track_id))
        ORDER BY (p.id = entry.track_id) DESC, p.created_at, p.id
        LIMIT 1
    $function$;
    COMMENT ON FUNCTION public.posts(public.playlist_tracks) IS
        'The post of a playlist entry, for the application that still joins posts. Goes with the compatibility.';
    NOTIFY pgrst, 'reload schema';
END
$step$;

-- step: list the entries of reposts
DELETE FROM tracks_posts_separation.entry_of_repost;
INSERT INTO tracks_posts_separation.entry_of_repost (id, place_and_entry)
SELECT e.id, pg_catalog.lpad(tracks_posts_separation.entry_place(e.playlist_id, p.track_id)::text, 4, '0') || ' ' || e.id
FROM tracks_posts_separation.entries_of_reposts(false) AS found (id)
JOIN public.playlist_tracks AS e ON e.id = found.id
JOIN public.posts AS p ON p.id = e.track_id;

-- step: entries of reposts point at their track
SELECT tracks_posts_separation.move_listed_entries(NULL, NULL);

-- step: entries that an earlier rollback archived, because the old application could not show their track
-- They are the application's own rows, and logged as such: the snapshot of this run does not have them.
SELECT pg_catalog.set_config('runbook.run_id', '', true);
DO $step$
DECLARE
    back public.playlist_tracks[];
    lacking text[];
BEGIN
    FOR back, lacking IN
        SELECT pg_catalog.array_agg(entry ORDER BY a.id), added.columns
        FROM tracks_posts_separation.archive AS a
        CROSS JOIN LATERAL tracks_posts_separation.document_row(NULL::public.playlist_tracks, a.row_data) AS entry
        CROSS JOIN LATERAL tracks_posts_separation.columns_added_since(
            'public.playlist_tracks', a.row_data
        ) AS added (columns)
        WHERE a.reason = 'entry_without_post'
          AND EXISTS (SELECT FROM public.tracks AS t WHERE t.id = entry.track_id)
          AND EXISTS (SELECT FROM public.playlists AS l WHERE l.id = entry.playlist_id)
        GROUP BY added.columns
    LOOP
        -- They name tracks, whoever has a post under the same id.
        UPDATE tracks_posts_separation.uploaded_track AS u
        SET came_first = true
        FROM pg_catalog.unnest(back) AS e
        WHERE u.track_id = e.track_id;
        DELETE FROM tracks_posts_separation.archive AS a
        USING tracks_posts_separation.put_entries_back(back, lacking) AS put
        WHERE a.reason = 'entry_without_post' AND (a.row_data ->> 'id')::uuid = put.entry AND put.refused_by IS NULL;
    END LOOP;
END
$step$;

-- step: archive the entries that have no track
-- Found once, before anything is moved: joined in the DELETE, every track would be read and not only its key.
DO $step$
DECLARE
    without_track uuid[] := ARRAY(
        SELECT lost.id
        FROM public.playlist_tracks AS lost
        WHERE lost.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = lost.track_id)
    );
BEGIN
    -- A text post that has become a repost since the swap was not on the list.
    PERFORM tracks_posts_separation.move_entries_of_reposts(without_track);
    -- The others pointed at text posts. Nothing else can have lost its track.
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    WITH gone AS (
        DELETE FROM public.playlist_tracks AS e
        WHERE e.id = ANY (without_track) AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id)
        RETURNING tracks_posts_separation.row_document(e) AS row_data
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT 'entry_without_track', 'public.playlist_tracks', gone.row_data, tracks_posts_separation.run_id()
    FROM gone;
END
$step$;

-- step: validate the key
ALTER TABLE public.playlist_tracks VALIDATE CONSTRAINT playlist_tracks_track_id_fkey;

-- step: the index has done its work
DROP INDEX CONCURRENTLY IF EXISTS public.tracks_posts_separation_posts_other_track;

-- step: verify that every playlist entry has its track
DO $step$
DECLARE
    wrong bigint;
BEGIN
    DELETE FROM tracks_posts_separation.entry_of_repost;
    IF coalesce(pg_catalog.current_setting('runbook.run_id', true), '') <> '' THEN
        -- The runner's checks look at every entry next, and show those that fail.
        RETURN;
    END IF;
    SELECT pg_catalog.count(*) INTO wrong
    FROM public.playlist_tracks AS e
    WHERE e.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id);
    IF wrong > 0 THEN
        RAISE EXCEPTION '% playlist entries point at no track', wrong
            USING HINT = 'Nothing of this migration does that. Look at these entries before anything else is done.';
    END IF;
END
$step$;
