-- Takes migration 3 back: playlist entries point at posts again. The new application must be stopped before.

-- step: swap the key of the playlist entries back
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
DO $step$
DECLARE
    old_key record;
BEGIN
    DROP TRIGGER IF EXISTS zz_tracks_posts_separation_translate ON public.playlist_tracks;
    DROP FUNCTION IF EXISTS public.posts(public.playlist_tracks);
    DELETE FROM tracks_posts_separation.setting WHERE name = 'playlists_reference_tracks';
    SELECT definition INTO old_key
    FROM tracks_posts_separation.replaced
    WHERE kind = 'key' AND name = 'playlist_tracks_track_id_fkey';
    IF FOUND THEN
        ALTER TABLE public.playlist_tracks DROP CONSTRAINT IF EXISTS playlist_tracks_track_id_fkey;
        EXECUTE pg_catalog.format(
            'ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey %s NOT VALID',
            pg_catalog.regexp_replace(old_key.definition, ' NOT VALID$', '')
        );
    END IF;
    NOTIFY pgrst, 'reload schema';
END
$step$;

-- step: entries as they were
-- data
DO $step$
BEGIN
    -- Entries of reposts get their post back, unless the application has changed them since.
    UPDATE public.playlist_tracks AS e
    SET track_id = (a.row_data ->> 'track_id')::uuid
    FROM tracks_posts_separation.archive AS a
    JOIN public.posts AS p ON p.id = (a.row_data ->> 'track_id')::uuid
    WHERE a.reason = 'entry_repointed'
      AND e.id = (a.row_data ->> 'id')::uuid
      AND e.track_id = (a.row_data ->> 'new_track_id')::uuid
      AND NOT EXISTS (
          SELECT FROM public.playlist_tracks AS o WHERE o.playlist_id = e.playlist_id AND o.track_id = p.id
      );

    -- Entries made since, of tracks that are not named after a post: any post of the track will do, the first is taken.
    WITH wanted AS (
        SELECT
            e.id,
            post.id AS post_id,
            pg_catalog.row_number() OVER (PARTITION BY e.playlist_id, post.id ORDER BY e.position, e.added_at, e.id) AS place
        FROM public.playlist_tracks AS e
        CROSS JOIN LATERAL (
            SELECT p.id FROM public.posts AS p WHERE p.track_id = e.track_id ORDER BY p.created_at, p.id LIMIT 1
        ) AS post
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id)
          AND NOT EXISTS (
              SELECT FROM public.playlist_tracks AS o WHERE o.playlist_id = e.playlist_id AND o.track_id = post.id
          )
    )
    UPDATE public.playlist_tracks AS e
    SET track_id = wanted.post_id
    FROM wanted
    WHERE wanted.id = e.id AND wanted.place = 1;

    -- What was archived comes back where playlist and post are still there. Of a collapsed pair only while the other
    -- one is there too: who removed the entry since removed the song.
    INSERT INTO public.playlist_tracks
    SELECT (pg_catalog.jsonb_populate_record(NULL::public.playlist_tracks, a.row_data)).*
    FROM tracks_posts_separation.archive AS a
    JOIN public.posts AS p ON p.id = (a.row_data ->> 'track_id')::uuid
    JOIN public.playlists AS l ON l.id = (a.row_data ->> 'playlist_id')::uuid
    WHERE a.reason IN (
            'entry_collapsed', 'entry_without_track', 'request_met_entry', 'entry_of_replaced_track',
            'entry_of_deleted_track'
        )
      AND (
          a.row_data ->> 'kept_entry' IS NULL
          OR EXISTS (SELECT FROM public.playlist_tracks AS k WHERE k.id = (a.row_data ->> 'kept_entry')::uuid)
      )
    ORDER BY a.id
    ON CONFLICT DO NOTHING;
    DELETE FROM tracks_posts_separation.archive
    WHERE reason IN (
        'entry_repointed', 'entry_collapsed', 'entry_without_track', 'request_met_entry', 'entry_of_replaced_track',
        'entry_of_deleted_track'
    );

    -- Entries of tracks that no post uses (the library of the new application): the old one cannot show them.
    WITH gone AS (
        DELETE FROM public.playlist_tracks AS e
        WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.id = e.track_id)
        RETURNING e.*
    )
    INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data, run_id)
    SELECT 'entry_without_post', 'public.playlist_tracks', pg_catalog.to_jsonb(gone), tracks_posts_separation.run_id()
    FROM gone;
END
$step$;

-- step: function and index of the migration
-- lock: public.posts ACCESS EXCLUSIVE
DROP FUNCTION IF EXISTS tracks_posts_separation.translate_entry();
DROP FUNCTION IF EXISTS tracks_posts_separation.move_entries_of_reposts();
DROP TABLE IF EXISTS tracks_posts_separation.moved_entry;
DROP INDEX IF EXISTS public.tracks_posts_separation_posts_other_track;

-- step: validate the key as it was
ALTER TABLE public.playlist_tracks VALIDATE CONSTRAINT playlist_tracks_track_id_fkey;
