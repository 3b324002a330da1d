-- Tracks vs Posts Separation, migration 3: playlist entries reference tracks.
--
-- playlist_tracks.track_id holds post ids until here, and almost every track has the id of its post: only entries of
-- reposts change. Where two entries of a playlist become one, the lower position stays and the other is archived.
-- Migration 1 explains names, files and planner pins.

-- step: drop an unusable index of an earlier attempt
SELECT tracks_posts_separation.clear_unusable_index(
    'CREATE INDEX tracks_posts_separation_posts_other_track ON public.posts USING btree (id, track_id) WHERE (track_id <> id)'
);

-- step: index the posts whose track has another id, for this migration
CREATE INDEX CONCURRENTLY IF NOT EXISTS tracks_posts_separation_posts_other_track
    ON public.posts (id, track_id) WHERE track_id <> id;

-- step: create the functions that archive, return and translate entries
-- What an archived entry keeps of the one that stayed: a rollback returns it only while that is as it was.
CREATE OR REPLACE FUNCTION tracks_posts_separation.merged_into(kept uuid, track uuid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('kept_entry', kept, 'kept_position', k.position, 'kept_track', track)
    FROM public.playlist_tracks AS k
    WHERE k.id = kept
$$;

-- The post that an entry named before it got this track; null where none was recorded.
CREATE OR REPLACE FUNCTION tracks_posts_separation.recorded_post(entry uuid, track uuid) RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
    SELECT (a.row_data ->> 'track_id')::uuid
    FROM archive AS a
    WHERE a.reason = 'entry_repointed'
      AND (a.row_data ->> 'id')::uuid = entry
      AND (a.row_data ->> 'new_track_id')::uuid = track
    ORDER BY a.id + 0 DESC
    LIMIT 1
$$;

-- When the plan deletes a track: its entries go to the successor, if any; where a playlist holds both, the one with the
-- lower position stays. If the post was deleted, the foreign key decides about the other entries, as it did when it
-- referenced posts: they are deleted with the track, or the deletion is refused. Turning a post into text was never
-- refused, so there the entries are deleted.
CREATE OR REPLACE FUNCTION tracks_posts_separation.release_entries(
    track uuid, successor uuid, post_is_gone boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF successor IS NOT NULL THEN
        PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
        WITH ranked AS (
            SELECT e.id, pg_catalog.first_value(e.id) OVER same AS kept
            FROM public.playlist_tracks AS e
            WHERE e.track_id IN (track, successor)
            WINDOW same AS (PARTITION BY e.playlist_id ORDER BY e.position, e.added_at, e.id)
        ),
        gone AS (
            DELETE FROM public.playlist_tracks AS e
            USING ranked
            WHERE ranked.id = e.id AND ranked.kept <> e.id
            RETURNING
                tracks_posts_separation.row_document(e) || tracks_posts_separation.merged_into(ranked.kept, successor)
                    AS row_data
        )
        INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
        SELECT 'entry_of_replaced_track', 'public.playlist_tracks', gone.row_data
        FROM gone;
        INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
        SELECT
            'entry_repointed',
            'public.playlist_tracks',
            tracks_posts_separation.row_document(e) || pg_catalog.jsonb_build_object(
                'track_id', coalesce(tracks_posts_separation.recorded_post(e.id, track), track), 'new_track_id', successor
            )
        FROM public.playlist_tracks AS e
        WHERE e.track_id = track;
        UPDATE public.playlist_tracks SET track_id = successor WHERE track_id = track;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
    IF NOT post_is_gone OR EXISTS (
        SELECT
        FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.playlist_tracks'::pg_catalog.regclass AND contype = 'f'
          AND confrelid = 'public.tracks'::pg_catalog.regclass
          AND conname = 'playlist_tracks_track_id_fkey' AND confdeltype = 'c'
    ) THEN
        INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
        SELECT
            'entry_of_deleted_track', 'public.playlist_tracks', tracks_posts_separation.row_document(e)
        FROM public.playlist_tracks AS e
        WHERE e.track_id = track;
    END IF;
    IF NOT post_is_gone THEN
        PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
        DELETE FROM public.playlist_tracks WHERE track_id = track;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
END
$$;

-- Inserts archived entries into their playlists again, in this order: each, or the constraint that refuses it. Without
-- ON CONFLICT: a constraint that is deferrable, or one that excludes, cannot be its arbiter.
CREATE OR REPLACE FUNCTION tracks_posts_separation.return_archived_entries(entries jsonb[])
RETURNS TABLE (entry uuid, refused_by text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    command text := 'WITH back AS (' || tracks_posts_separation.insert_documents('public.playlist_tracks')
        || ' RETURNING id) SELECT pg_catalog.array_agg(id) FROM back';
    one jsonb;
    ids uuid[];
    refused text;
BEGIN
    IF entries IS NULL THEN
        RETURN;
    END IF;
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    -- RETURN QUERY stands after the block: a rollback of the block would not take back rows that were returned in it.
    BEGIN
        EXECUTE command INTO ids USING entries;
    EXCEPTION WHEN integrity_constraint_violation THEN
        ids := NULL;
        refused := '';      -- One of them, which the loop below finds.
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
                ids := ARRAY[(one ->> 'id')::uuid];
            END;
            RETURN QUERY SELECT u.id, refused FROM pg_catalog.unnest(ids) AS u (id);
        END LOOP;
    END IF;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END
$$;

-- The number of the lock of a playlist and track: whoever adds that track to that playlist holds
-- lock_slots('entry', entry_place(...)) until its transaction ends.
CREATE OR REPLACE FUNCTION tracks_posts_separation.entry_place(playlist uuid, track uuid) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.hashtext(playlist::text || track::text) & 1023 $$;

-- The old application sends the id of a post. An id of a track is left alone: the new application sends those.
CREATE OR REPLACE FUNCTION tracks_posts_separation.translate_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
DECLARE
    translated uuid;
    kept uuid;
    caller name := coalesce(nullif(current_setting('role', true), 'none'), session_user);
    may_write boolean;
BEGIN
    IF NEW.track_id IS NULL OR (NEW.track_id = OLD.track_id AND NEW.playlist_id = OLD.playlist_id) THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM public.tracks WHERE id = NEW.track_id) THEN
        SELECT track_id INTO translated FROM public.posts WHERE id = NEW.track_id;
        IF translated IS NULL THEN
            RETURN NEW;     -- neither a track nor a post with one: the foreign key refuses it
        END IF;
    ELSE
        -- A post and another user's track have this id: whichever came first is meant. Anybody can insert a row under an
        -- id that exists.
        SELECT p.track_id INTO translated
        FROM public.posts AS p
        JOIN public.tracks AS t ON t.id = p.id
        WHERE p.id = NEW.track_id AND p.track_id <> p.id AND p.user_id <> t.user_id
          AND NOT EXISTS (SELECT FROM uploaded_track AS u WHERE u.track_id = t.id AND u.came_first);
    END IF;
    -- Two sessions that add a post and its repost must see each other.
    PERFORM lock_slots('entry', entry_place(NEW.playlist_id, coalesce(translated, NEW.track_id)));
    SELECT id INTO kept
    FROM public.playlist_tracks
    WHERE playlist_id = NEW.playlist_id AND track_id = coalesce(translated, NEW.track_id) AND id <> NEW.id;
    IF NOT FOUND AND translated IS NULL THEN
        RETURN NEW;
    END IF;
    -- The id of a track that is a post's, too: the old application may mean another post of this file, which it could add
    -- beside the one that is listed. Of a file without reposts it could not, and the unique constraint says so.
    IF translated IS NULL AND NOT EXISTS (SELECT FROM public.posts WHERE track_id = NEW.track_id AND id <> NEW.track_id) THEN
        RETURN NEW;
    END IF;
    IF kept IS NOT NULL THEN
        -- Skipped silently only for a caller who may write here: row-level security has not been checked yet, and for
        -- anybody else the answer would reveal what is in a private playlist.
        SELECT r.rolbypassrls OR r.rolsuper OR pg_has_role(caller, c.relowner, 'USAGE') INTO may_write
        FROM pg_roles AS r
        CROSS JOIN pg_class AS c
        WHERE r.rolname = caller AND c.oid = TG_RELID;
        IF NOT coalesce(may_write, false) THEN
            may_write := EXISTS (SELECT FROM public.playlists WHERE id = NEW.playlist_id AND user_id = auth.uid());
        END IF;
        IF may_write THEN
            INSERT INTO archive (reason, table_name, row_data)
            VALUES (
                'request_met_entry', 'public.playlist_tracks',
                row_document(NEW) || merged_into(kept, coalesce(translated, NEW.track_id))
            );
            RETURN NULL;
        END IF;
    END IF;
    IF translated <> NEW.track_id THEN
        -- A rollback gives the entry the post that was asked for.
        INSERT INTO archive (reason, table_name, row_data)
        VALUES (
            'entry_repointed', 'public.playlist_tracks',
            row_document(NEW) || jsonb_build_object('new_track_id', translated)
        );
    END IF;
    NEW.track_id := coalesce(translated, NEW.track_id);
    RETURN NEW;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the functions that repoint entries of reposts
-- The entries that are being moved. The functions of this step look rows up by index only: the swap calls them while the
-- application waits for its tables.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.moved_entry (
    id uuid PRIMARY KEY,
    playlist_id uuid NOT NULL,
    old_track_id uuid NOT NULL,
    new_track_id uuid NOT NULL,
    position integer NOT NULL,
    added_at timestamptz NOT NULL
);

-- Points entries at the track of the post that they name, and returns how many. With tracks: only at one of these.
CREATE OR REPLACE FUNCTION tracks_posts_separation.point_entries_at_tracks(entries uuid[], tracks uuid[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    listed bigint;
    is_exact boolean := (
        SELECT pg_catalog.bool_and(c.is_exact) FROM tracks_posts_separation.table_column AS c
        WHERE c.of_table = 'public.playlist_tracks'::pg_catalog.regclass
    );
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
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
    SELECT
        'entry_collapsed',
        'public.playlist_tracks',
        -- Of one that had the track before, a rollback needs the post that it named.
        gone.row_data || pg_catalog.jsonb_build_object('track_id', coalesce(
            tracks_posts_separation.recorded_post(gone.id, (gone.row_data ->> text 'track_id')::uuid),
            (gone.row_data ->> text 'track_id')::uuid
        ))
    FROM gone;

    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
    SELECT
        'entry_repointed',
        'public.playlist_tracks',
        CASE WHEN is_exact THEN pg_catalog.to_jsonb(e) ELSE tracks_posts_separation.row_document(e) END
            || pg_catalog.jsonb_build_object('new_track_id', m.new_track_id)
    FROM tracks_posts_separation.moved_entry AS m
    JOIN public.playlist_tracks AS e ON e.id = m.id
    WHERE m.id = ANY (entries);
    BEGIN
        UPDATE public.playlist_tracks AS e
        SET track_id = m.new_track_id
        FROM tracks_posts_separation.moved_entry AS m
        WHERE e.id = m.id AND m.id = ANY (entries);
    EXCEPTION WHEN unique_violation OR exclusion_violation THEN
        -- An entry must leave the id that another one takes: each round moves those whose place is free.
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

-- Entries that name a post whose track has another id. true: those whose id a track has, too. false: those whose id no track
-- has, or only one that another user inserted after the post; then the entry means the post.
CREATE OR REPLACE FUNCTION tracks_posts_separation.entries_of_reposts(id_is_a_track boolean) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, tracks_posts_separation, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT e.id
    FROM public.posts AS p
    LEFT JOIN LATERAL (
        SELECT
            found.id,
            found.user_id <> p.user_id AND NOT EXISTS (
                SELECT FROM uploaded_track AS u WHERE u.track_id = found.id AND u.came_first
            ) AS came_later
        FROM public.tracks AS found
        WHERE found.id = p.id
        OFFSET 0
    ) AS t ON true
    CROSS JOIN LATERAL (SELECT id FROM public.playlist_tracks AS found WHERE found.track_id = p.id OFFSET 0) AS e
    WHERE p.track_id <> p.id AND CASE WHEN id_is_a_track THEN t.id IS NOT NULL ELSE coalesce(t.came_later, true) END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: create the batches of entries
-- What the batches walk, in the order of the locks: two workers never want the same one.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.entry_of_repost (
    id uuid PRIMARY KEY,
    place_and_entry text COLLATE "C" NOT NULL UNIQUE
);

-- Moves entries that name a post and no track, and returns their number.
CREATE OR REPLACE FUNCTION tracks_posts_separation.move_entries_of_reposts(wanted uuid[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp SET enable_seqscan = off
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
                        SELECT FROM uploaded_track AS u WHERE u.track_id = t.id AND u.came_first
                    )
                )
          )
        ORDER BY e.id
        FOR UPDATE OF e
    );
    IF pg_catalog.cardinality(entries) = 0 THEN
        RETURN 0;
    END IF;
    -- As the trigger does: a session that adds this track to the playlist at this moment and we must see each other.
    PERFORM lock_slots('entry', VARIADIC ARRAY(
        SELECT entry_place(e.playlist_id, p.track_id)
        FROM public.playlist_tracks AS e
        JOIN public.posts AS p ON p.id = e.track_id
        WHERE e.id = ANY (entries)
    ));
    -- No session deletes the tracks before the entries name them.
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
    RETURN point_entries_at_tracks(entries, tracks);
END
$$;

-- The same for the listed entries with after_key < place_and_entry <= upto_key (null: no bound), the first most_rows of them
-- (null: all); last_key is null where the range is through. From the swap on the trigger lets no such entry in.
CREATE OR REPLACE FUNCTION tracks_posts_separation.move_listed_entries(
    after_key text, upto_key text, most_rows integer DEFAULT NULL, OUT rows_moved bigint, OUT last_key text
)
LANGUAGE plpgsql SET search_path = pg_catalog, tracks_posts_separation, pg_temp
AS $$
DECLARE
    listed text[] := ARRAY(
        SELECT l.place_and_entry
        FROM entry_of_repost AS l
        WHERE l.place_and_entry > coalesce(after_key, '') AND l.place_and_entry <= coalesce(upto_key, '~')
        ORDER BY l.place_and_entry
        LIMIT most_rows
    );
BEGIN
    IF cardinality(listed) = most_rows THEN
        last_key := listed[most_rows];
    END IF;
    rows_moved := move_entries_of_reposts(ARRAY(
        SELECT substr(l.place_and_entry, 6)::uuid FROM unnest(listed) AS l (place_and_entry)
    ));
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: swap the key of the playlist entries
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- One statement, so that it is one transaction whoever applies the file: the foreign key changes its target, and from the
-- same instant post ids are translated. The application waits for it, so it moves only the entries whose post id is
-- another track's by now: later it would be unknown which is meant. The batches below move the others; until then these
-- name their post, which the old application still finds.
DO $step$
DECLARE
    old_key record;
BEGIN
    -- Pending deferred checks would make ALTER TABLE fail.
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
        'The post of a playlist entry, for the application that still joins posts. Removed with the compatibility.';
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

-- step: repoint the entries of reposts
SELECT tracks_posts_separation.move_listed_entries(NULL, NULL);

-- step: insert the entries that an earlier rollback archived
-- The old application could not show their track. They are the application's own rows and are logged as such: the snapshot
-- of this run does not have them.
SELECT pg_catalog.set_config('runbook.run_id', '', true);
DO $step$
DECLARE
    back jsonb[] := (
        SELECT pg_catalog.array_agg(a.row_data ORDER BY a.id)
        FROM tracks_posts_separation.archive AS a
        WHERE a.reason = 'entry_without_post'
          AND EXISTS (SELECT FROM public.tracks AS t WHERE t.id = (a.row_data ->> 'track_id')::uuid)
          AND EXISTS (SELECT FROM public.playlists AS l WHERE l.id = (a.row_data ->> 'playlist_id')::uuid)
    );
BEGIN
    -- They name tracks, whoever has a post under the same id.
    UPDATE tracks_posts_separation.uploaded_track AS u
    SET came_first = true
    FROM pg_catalog.unnest(back) AS e (document)
    WHERE u.track_id = (e.document ->> 'track_id')::uuid;
    DELETE FROM tracks_posts_separation.archive AS a
    USING tracks_posts_separation.return_archived_entries(back) AS put
    WHERE a.reason = 'entry_without_post' AND (a.row_data ->> 'id')::uuid = put.entry AND put.refused_by IS NULL;
END
$step$;

-- step: archive the entries that have no track
-- Listed before anything is moved: joined in the DELETE, every track would be read and not only its key.
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
    -- The others reference text posts.
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    WITH gone AS (
        DELETE FROM public.playlist_tracks AS e
        WHERE e.id = ANY (without_track) AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id)
        RETURNING tracks_posts_separation.row_document(e) AS row_data
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
    SELECT 'entry_without_track', 'public.playlist_tracks', gone.row_data
    FROM gone;
END
$step$;

-- step: validate playlist_tracks_track_id_fkey
ALTER TABLE public.playlist_tracks VALIDATE CONSTRAINT playlist_tracks_track_id_fkey;

-- step: drop the index of this migration
DROP INDEX CONCURRENTLY IF EXISTS public.tracks_posts_separation_posts_other_track;

-- step: verify that every playlist entry has its track
DO $step$
DECLARE
    wrong bigint;
BEGIN
    DELETE FROM tracks_posts_separation.entry_of_repost;
    IF coalesce(pg_catalog.current_setting('runbook.run_id', true), '') <> '' THEN
        -- The runner's checks read every entry next and list those that fail.
        RETURN;
    END IF;
    SELECT pg_catalog.count(*) INTO wrong
    FROM public.playlist_tracks AS e
    WHERE e.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id);
    IF wrong > 0 THEN
        RAISE EXCEPTION '% playlist entries reference no track', wrong
            USING HINT = 'No statement of this migration does that. Examine these entries before anything else is done.';
    END IF;
END
$step$;
