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
    IF TG_OP = 'UPDATE' AND NEW.track_id = OLD.track_id AND NEW.playlist_id = OLD.playlist_id THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM public.tracks WHERE id = NEW.track_id) THEN
        SELECT track_id INTO translated FROM public.posts WHERE id = NEW.track_id;
        IF translated IS NULL THEN
            RETURN NEW;     -- neither a track nor a post with one: the key says no
        END IF;
    END IF;
    -- Two sessions that add a post and its repost must see each other.
    PERFORM pg_catalog.pg_advisory_xact_lock(
        20250123, pg_catalog.hashtext(NEW.playlist_id::text || coalesce(translated, NEW.track_id)::text) & 1023
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
                pg_catalog.to_jsonb(NEW)
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
            pg_catalog.to_jsonb(NEW) || pg_catalog.jsonb_build_object('new_track_id', translated),
            tracks_posts_separation.run_id()
        );
    END IF;
    NEW.track_id := coalesce(translated, NEW.track_id);
    RETURN NEW;
END
$$;
-- While the application waits for its tables: only index lookups, beginning at the posts whose track has another id.
-- The planner takes `track_id <> id` for true of almost every post and would read the tables instead; LATERAL with
-- OFFSET 0 fixes which side is looked up.
CREATE TABLE IF NOT EXISTS tracks_posts_separation.moved_entry (
    id uuid PRIMARY KEY,
    playlist_id uuid NOT NULL,
    old_track_id uuid NOT NULL,
    new_track_id uuid NOT NULL,
    position integer NOT NULL,
    added_at timestamptz NOT NULL
);

CREATE OR REPLACE FUNCTION tracks_posts_separation.move_entries_of_reposts() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    DELETE FROM tracks_posts_separation.moved_entry;
    INSERT INTO tracks_posts_separation.moved_entry (id, playlist_id, old_track_id, new_track_id, position, added_at)
    SELECT e.id, e.playlist_id, e.track_id, p.track_id, e.position, e.added_at
    FROM public.posts AS p
    CROSS JOIN LATERAL (SELECT * FROM public.playlist_tracks AS found WHERE found.track_id = p.id OFFSET 0) AS e
    WHERE p.track_id <> p.id;
    ANALYZE tracks_posts_separation.moved_entry;

    -- Entries that will name the same track as another entry of their playlist: the lower position stays.
    -- IS NOT DISTINCT FROM keeps the planner from reading whole playlists by their index.
    WITH competing AS (
        SELECT id, playlist_id, new_track_id, position, added_at FROM tracks_posts_separation.moved_entry
        UNION
        SELECT e.id, e.playlist_id, e.track_id, e.position, e.added_at
        FROM tracks_posts_separation.moved_entry AS m
        CROSS JOIN LATERAL (
            SELECT *
            FROM public.playlist_tracks AS found
            WHERE found.track_id = m.new_track_id AND found.playlist_id IS NOT DISTINCT FROM m.playlist_id
            OFFSET 0
        ) AS e
        WHERE NOT EXISTS (SELECT FROM tracks_posts_separation.moved_entry AS also WHERE also.id = e.id)
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
            pg_catalog.to_jsonb(e) || tracks_posts_separation.merged_into(ranked.kept, ranked.new_track_id) AS row_data
    ),
    not_moved AS (
        DELETE FROM tracks_posts_separation.moved_entry AS m USING gone WHERE gone.id = m.id
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT 'entry_collapsed', 'public.playlist_tracks', gone.row_data, tracks_posts_separation.run_id()
    FROM gone;

    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT
        'entry_repointed',
        'public.playlist_tracks',
        pg_catalog.to_jsonb(e) || pg_catalog.jsonb_build_object('new_track_id', m.new_track_id),
        tracks_posts_separation.run_id()
    FROM tracks_posts_separation.moved_entry AS m
    JOIN public.playlist_tracks AS e ON e.id = m.id;
    BEGIN
        UPDATE public.playlist_tracks AS e
        SET track_id = m.new_track_id
        FROM tracks_posts_separation.moved_entry AS m
        WHERE e.id = m.id;
    EXCEPTION WHEN unique_violation THEN
        -- An entry must leave the id that another one takes: in rounds, each moves those whose place is free.
        LOOP
            UPDATE public.playlist_tracks AS e
            SET track_id = m.new_track_id
            FROM tracks_posts_separation.moved_entry AS m
            WHERE e.id = m.id
              AND e.track_id <> m.new_track_id
              AND NOT EXISTS (
                  SELECT FROM public.playlist_tracks AS o
                  WHERE o.track_id = m.new_track_id AND o.playlist_id IS NOT DISTINCT FROM e.playlist_id
              );
            EXIT WHEN NOT FOUND;
        END LOOP;
        IF EXISTS (
            SELECT
            FROM tracks_posts_separation.moved_entry AS m
            JOIN public.playlist_tracks AS e ON e.id = m.id
            WHERE e.track_id <> m.new_track_id
        ) THEN
            RAISE EXCEPTION 'entries of public.playlist_tracks cannot take the id of their track: it is taken in their playlist';
        END IF;
    END;
    DELETE FROM tracks_posts_separation.moved_entry;
END
$$;
SELECT tracks_posts_separation.close_to_applications();

-- step: swap the key of the playlist entries
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- One statement, so that it is one transaction whoever applies the file: the old key goes, entries of reposts change,
-- the new key comes, and from the same instant post ids are translated.
DO $step$
DECLARE
    old_key record;
BEGIN
    SELECT pg_catalog.pg_get_constraintdef(oid) AS definition, convalidated, confrelid
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
    INSERT INTO tracks_posts_separation.replaced (kind, name, definition, was_valid)
    VALUES ('key', 'playlist_tracks_track_id_fkey', old_key.definition, old_key.convalidated)
    ON CONFLICT (kind, name) DO UPDATE SET definition = excluded.definition, was_valid = excluded.was_valid;
    ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey;

    PERFORM tracks_posts_separation.move_entries_of_reposts();
    ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey
        FOREIGN KEY (track_id) REFERENCES public.tracks (id) ON DELETE CASCADE NOT VALID;
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
        ORDER BY (p.id = entry.track_id) DESC, p.created_at, p.id
        LIMIT 1
    $function$;
    COMMENT ON FUNCTION public.posts(public.playlist_tracks) IS
        'The post of a playlist entry, for the application that still joins posts. Goes with the compatibility.';
    NOTIFY pgrst, 'reload schema';
END
$step$;

-- step: entries that an earlier rollback archived, because the old application could not show their track
WITH back AS (
    INSERT INTO public.playlist_tracks
    SELECT entry.*
    FROM tracks_posts_separation.archive AS a
    CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(NULL::public.playlist_tracks, a.row_data) AS entry
    WHERE a.reason = 'entry_without_post'
      AND EXISTS (SELECT FROM public.tracks AS t WHERE t.id = entry.track_id)
      AND EXISTS (SELECT FROM public.playlists AS l WHERE l.id = entry.playlist_id)
    ORDER BY a.id
    ON CONFLICT DO NOTHING
    RETURNING id
)
DELETE FROM tracks_posts_separation.archive AS a
USING back
WHERE a.reason = 'entry_without_post' AND (a.row_data ->> 'id')::uuid = back.id;

-- step: archive the entries that have no track
-- Entries that pointed at text posts. Nothing else can have lost its track.
WITH gone AS (
    DELETE FROM public.playlist_tracks AS e
    WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id)
    RETURNING e.*
)
INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
SELECT 'entry_without_track', 'public.playlist_tracks', pg_catalog.to_jsonb(gone), tracks_posts_separation.run_id()
FROM gone;

-- step: validate the key
ALTER TABLE public.playlist_tracks VALIDATE CONSTRAINT playlist_tracks_track_id_fkey;

-- step: the index has done its work
DROP INDEX CONCURRENTLY IF EXISTS public.tracks_posts_separation_posts_other_track;

-- step: verify that every playlist entry has its track
DO $step$
DECLARE
    wrong bigint;
BEGIN
    SELECT pg_catalog.count(*) INTO wrong
    FROM public.playlist_tracks AS e
    WHERE NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id);
    IF wrong > 0 THEN
        RAISE EXCEPTION '% playlist entries point at no track', wrong
            USING HINT = 'Nothing of this migration does that. Look at these entries before anything else is done.';
    END IF;
END
$step$;
