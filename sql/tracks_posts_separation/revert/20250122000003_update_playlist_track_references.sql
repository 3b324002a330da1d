-- Undoes migration 3: playlist entries reference posts again. The new application must be stopped before.
-- The runner runs revert_functions.sql first; with psql: psql -f revert_functions.sql -f revert/<this file>.

-- step: swap the key of the playlist entries back
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
DO $step$
DECLARE
    old_key record;
BEGIN
    -- Pending deferred checks would make ALTER TABLE fail.
    SET CONSTRAINTS ALL IMMEDIATE;
    DROP TRIGGER IF EXISTS zz_tracks_posts_separation_translate ON public.playlist_tracks;
    DROP FUNCTION IF EXISTS public.posts(public.playlist_tracks);
    DELETE FROM tracks_posts_separation.setting WHERE name = 'playlists_reference_tracks';
    SELECT definition, remark INTO old_key
    FROM tracks_posts_separation.replaced
    WHERE kind = 'key' AND name = 'playlist_tracks_track_id_fkey';
    IF FOUND THEN
        ALTER TABLE public.playlist_tracks DROP CONSTRAINT IF EXISTS playlist_tracks_track_id_fkey;
        EXECUTE pg_catalog.format(
            'ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey %s NOT VALID', old_key.definition
        );
        EXECUTE pg_catalog.format(
            'COMMENT ON CONSTRAINT playlist_tracks_track_id_fkey ON public.playlist_tracks IS %L', old_key.remark
        );
    END IF;
    NOTIFY pgrst, 'reload schema';
END
$step$;

-- step: restore the entries
-- data
DO $step$
DECLARE
    of_tracks uuid[];       -- entries of a track whose id is no post of its user, perhaps another user's post
    their_tracks uuid[];
    back jsonb[];
    without_post text := 'SELECT e.id FROM public.playlist_tracks AS e WHERE NOT EXISTS'
        ' (SELECT FROM public.posts AS p WHERE p.id = e.track_id OR p.track_id = e.track_id)';
BEGIN
    -- Constraints are checked at each statement, not at the commit, and triggers run as in a session of the application.
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM pg_catalog.set_config('search_path', tracks_posts_separation.deployment_path(), true);
    SELECT coalesce(pg_catalog.array_agg(e.id), '{}'), coalesce(pg_catalog.array_agg(t.id), '{}')
    INTO of_tracks, their_tracks
    FROM public.playlist_tracks AS e
    JOIN public.tracks AS t ON t.id = e.track_id
    LEFT JOIN public.posts AS p ON p.id = t.id
    WHERE p.id IS NULL
       OR p.user_id <> t.user_id AND (
           -- Of a post that had the id first the entry names the post: migration 3 has not moved it yet.
           p.track_id IS NULL OR EXISTS (
               SELECT FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = t.id AND u.came_first
           )
       );
    -- Rows of other tables that reference an entry with its track must not lose it because it changes.
    IF EXISTS (SELECT FROM tracks_posts_separation.keys_of_others('public.playlist_tracks', ARRAY['track_id'::name])) THEN
        PERFORM tracks_posts_separation.refuse_rows_of_others(
            'public.playlist_tracks',
            ARRAY(
                SELECT e.id
                FROM public.playlist_tracks AS e
                WHERE e.id = ANY (of_tracks)
                   OR e.track_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id)
                   OR EXISTS (
                       SELECT
                       FROM tracks_posts_separation.archive AS a
                       WHERE a.reason = 'entry_repointed'
                         AND (a.row_data ->> 'id')::uuid = e.id
                         AND (a.row_data ->> 'new_track_id')::uuid = e.track_id
                   )
                ORDER BY e.id
                FOR UPDATE
            ),
            'SELECT e.id FROM public.playlist_tracks AS e',
            ARRAY['track_id'::name]
        );
    END IF;
    -- An entry that was pointed at another id gets back the post that was recorded, unless the application has pointed it
    -- elsewhere since. The newest record counts.
    UPDATE public.playlist_tracks AS e
    SET track_id = recorded.post_id
    FROM (
        SELECT DISTINCT ON (row_data ->> 'id')
            (row_data ->> 'id')::uuid AS entry,
            (row_data ->> 'track_id')::uuid AS post_id,
            (row_data ->> 'new_track_id')::uuid AS track
        FROM tracks_posts_separation.archive
        WHERE reason = 'entry_repointed'
        ORDER BY row_data ->> 'id', id DESC
    ) AS recorded
    WHERE e.id = recorded.entry
      AND e.track_id = recorded.track
      AND EXISTS (SELECT FROM public.posts AS p WHERE p.id = recorded.post_id)
      AND NOT EXISTS (
          SELECT FROM public.playlist_tracks AS o WHERE o.playlist_id = e.playlist_id AND o.track_id = recorded.post_id
      );

    -- Entries that still name a track get a post that has it: the playlist owner's, else the earliest.
    WITH wanted AS (
        SELECT
            e.id,
            post.id AS post_id,
            pg_catalog.row_number() OVER (PARTITION BY e.playlist_id, post.id ORDER BY e.position, e.added_at, e.id) AS place
        FROM public.playlist_tracks AS e
        JOIN public.playlists AS l ON l.id = e.playlist_id
        CROSS JOIN LATERAL (
            SELECT p.id FROM public.posts AS p
            WHERE p.track_id = e.track_id
            ORDER BY (p.user_id = l.user_id) DESC, p.created_at, p.id
            LIMIT 1
        ) AS post
        WHERE (e.id = ANY (of_tracks) OR NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id))
          AND NOT EXISTS (
              SELECT FROM public.playlist_tracks AS o WHERE o.playlist_id = e.playlist_id AND o.track_id = post.id
          )
    )
    UPDATE public.playlist_tracks AS e
    SET track_id = wanted.post_id
    FROM wanted
    WHERE wanted.id = e.id AND wanted.place = 1;

    -- An archived entry returns if its playlist and its post still exist and, of a merged pair, the entry that stayed is
    -- unchanged: a user who removed or moved that one has decided about the song. Otherwise the archive records why not.
    CREATE TEMPORARY TABLE judged ON COMMIT DROP AS
    WITH archived AS (
        SELECT a.id AS archive_id, entry.*, a.row_data,
            coalesce(tracks_posts_separation.recorded_post(entry.id, entry.track_id), entry.track_id) AS post_id
        FROM tracks_posts_separation.archive AS a
        CROSS JOIN LATERAL tracks_posts_separation.document_row(NULL::public.playlist_tracks, a.row_data) AS entry
        WHERE a.reason IN (
            'entry_collapsed', 'entry_without_track', 'request_met_entry', 'entry_of_replaced_track',
            'entry_of_deleted_track'
        )
    )
    SELECT a.*, CASE
        WHEN NOT EXISTS (SELECT FROM public.playlists AS l WHERE l.id = a.playlist_id) THEN 'its playlist is gone'
        WHEN NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = a.post_id) THEN 'its post is gone'
        WHEN a.row_data ->> 'kept_entry' IS NOT NULL AND kept.id IS NULL THEN 'the entry it was merged into is gone'
        WHEN kept.id IS NOT NULL AND (
            kept.playlist_id <> a.playlist_id
            OR kept.position::text IS DISTINCT FROM coalesce(a.row_data ->> 'kept_position', kept.position::text)
            OR NOT EXISTS (
                SELECT FROM public.posts AS p
                WHERE p.id = kept.track_id
                  AND p.track_id::text = coalesce(a.row_data ->> 'kept_track', p.track_id::text)
            )
        ) THEN 'the entry it was merged into was changed'
        WHEN EXISTS (
            SELECT FROM public.playlist_tracks AS o
            WHERE o.id = a.id OR (o.playlist_id = a.playlist_id AND o.track_id = a.post_id)
        ) THEN 'its post is listed already'
    END AS stays_because
    FROM archived AS a
    LEFT JOIN public.playlist_tracks AS kept ON kept.id = (a.row_data ->> 'kept_entry')::uuid;
    back := (
        SELECT pg_catalog.array_agg(
            j.row_data || pg_catalog.jsonb_build_object('track_id', j.post_id) ORDER BY j.archive_id
        )
        FROM pg_temp.judged AS j
        WHERE j.stays_because IS NULL
    );
    WITH put AS MATERIALIZED (
        SELECT p.entry, p.refused_by FROM tracks_posts_separation.return_archived_entries(back) AS p
    ),
    returned AS (
        DELETE FROM tracks_posts_separation.archive AS a
        USING pg_temp.judged AS j
        JOIN put ON put.entry = j.id AND put.refused_by IS NULL
        WHERE a.id = j.archive_id AND j.stays_because IS NULL
    )
    UPDATE tracks_posts_separation.archive AS a
    SET row_data = a.row_data || pg_catalog.jsonb_build_object(
        'stays_because', coalesce(
            j.stays_because,
            (SELECT 'the constraint ' || put.refused_by || ' refuses it' FROM put WHERE put.entry = j.id LIMIT 1),
            'a trigger keeps it out'
        )
    )
    FROM pg_temp.judged AS j
    WHERE a.id = j.archive_id
      AND (
          j.stays_because IS NOT NULL
          OR NOT EXISTS (SELECT FROM put WHERE put.entry = j.id AND put.refused_by IS NULL)
      );
    DROP TABLE pg_temp.judged;
    DELETE FROM tracks_posts_separation.archive WHERE reason = 'entry_repointed';

    -- Entries that the old application cannot show: of tracks that no post uses (the library of the new application), or
    -- of a post that their playlist lists already. The next run inserts them again.
    IF EXISTS (SELECT FROM tracks_posts_separation.keys_of_others('public.playlist_tracks')) THEN
        PERFORM tracks_posts_separation.refuse_rows_of_others(
            'public.playlist_tracks',
            ARRAY(
                SELECT e.id
                FROM public.playlist_tracks AS e
                WHERE e.track_id IS NOT NULL
                  AND (
                      NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id)
                      OR (e.id, e.track_id) IN (
                          SELECT o.entry, o.track
                          FROM ROWS FROM (pg_catalog.unnest(of_tracks), pg_catalog.unnest(their_tracks))
                              AS o (entry, track)
                      )
                  )
                ORDER BY e.id
                FOR UPDATE
            ),
            without_post
        );
    END IF;
    WITH gone AS (
        DELETE FROM public.playlist_tracks AS e
        WHERE e.track_id IS NOT NULL
          AND (
              NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id)
              -- Still the track that it named, whose id is another user's post.
              OR (e.id, e.track_id) IN (
                  SELECT o.entry, o.track
                  FROM ROWS FROM (pg_catalog.unnest(of_tracks), pg_catalog.unnest(their_tracks)) AS o (entry, track)
              )
          )
        RETURNING tracks_posts_separation.row_document(e) AS row_data
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)
    SELECT 'entry_without_post', 'public.playlist_tracks', gone.row_data
    FROM gone;
END
$step$;

-- step: drop functions and index of the migration
-- lock: public.posts ACCESS EXCLUSIVE
DROP FUNCTION IF EXISTS tracks_posts_separation.translate_entry();
DROP FUNCTION IF EXISTS tracks_posts_separation.return_archived_entries(jsonb[]);
DROP FUNCTION IF EXISTS tracks_posts_separation.release_entries(uuid, uuid, boolean);
DROP FUNCTION IF EXISTS tracks_posts_separation.recorded_post(uuid, uuid);
DROP FUNCTION IF EXISTS tracks_posts_separation.merged_into(uuid, uuid);
DROP FUNCTION IF EXISTS tracks_posts_separation.move_listed_entries(text, text, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.entry_place(uuid, uuid);
DROP FUNCTION IF EXISTS tracks_posts_separation.move_entries_of_reposts(uuid[]);
DROP FUNCTION IF EXISTS tracks_posts_separation.entries_of_reposts(boolean);
DROP TABLE IF EXISTS tracks_posts_separation.entry_of_repost;
DROP FUNCTION IF EXISTS tracks_posts_separation.point_entries_at_tracks(uuid[], uuid[]);
DROP TABLE IF EXISTS tracks_posts_separation.moved_entry;
DROP INDEX IF EXISTS public.tracks_posts_separation_posts_other_track;

-- step: validate playlist_tracks_track_id_fkey
ALTER TABLE public.playlist_tracks VALIDATE CONSTRAINT playlist_tracks_track_id_fkey;

-- step: add playlist_tracks_track_id_fkey again, not validated, where it was not valid before
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
DO $step$
DECLARE
    old_key record;
BEGIN
    SELECT definition, remark INTO old_key
    FROM tracks_posts_separation.replaced
    WHERE kind = 'key' AND name = 'playlist_tracks_track_id_fkey' AND NOT was_valid;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    ALTER TABLE public.playlist_tracks DROP CONSTRAINT IF EXISTS playlist_tracks_track_id_fkey;
    EXECUTE pg_catalog.format(
        'ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey %s NOT VALID', old_key.definition
    );
    EXECUTE pg_catalog.format(
        'COMMENT ON CONSTRAINT playlist_tracks_track_id_fkey ON public.playlist_tracks IS %L', old_key.remark
    );
END
$step$;

-- step: drop the functions of the rollback
DROP FUNCTION IF EXISTS
    tracks_posts_separation.unmigrate_audio_posts(uuid, uuid, integer), tracks_posts_separation.archive_unused_tracks(),
    tracks_posts_separation.archive_tracks(uuid[], boolean),
    tracks_posts_separation.lock_posts_with_track(uuid, boolean, uuid, integer),
    tracks_posts_separation.refuse_rows_of_others(regclass, uuid[], text, name[]),
    tracks_posts_separation.keys_of_others(regclass, name[]);
