-- Undoes migration 2: posts lose their track_id, tracks made from posts are deleted, real uploads stay.
-- The compatibility triggers of migration 1 stay: what the application writes meanwhile gets its track from them.
-- The runner runs revert_functions.sql first; with psql: psql -f revert_functions.sql -f revert/<this file>.

-- step: drop an unusable index of an interrupted fill
-- data
SELECT tracks_posts_separation.clear_unusable_index(
    'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
);

-- step: index posts.track_id again where a fill was interrupted
-- data
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

-- step: end a fill that was interrupted: add the foreign key again, in place of the triggers
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- A restore in place leaves out the two steps above and has the tables to itself, so there this step creates the index.
DO $step$
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.is_filling()') IS NULL THEN
        RETURN;
    END IF;
    IF tracks_posts_separation.is_filling() THEN
        PERFORM tracks_posts_separation.clear_unusable_index(
            'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
        );
        CREATE INDEX IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);
        PERFORM tracks_posts_separation.end_fill();
    END IF;
    DELETE FROM tracks_posts_separation.setting WHERE name IN ('exceptions_are_listed', 'fill_is_wanted');
    DELETE FROM tracks_posts_separation.exception;
END
$step$;

-- step: undo the backfill
-- data
SELECT tracks_posts_separation.unmigrate_audio_posts(NULL, NULL);

-- step: delete the tracks that the batches left
-- data
SELECT tracks_posts_separation.archive_unused_tracks();

-- step: drop the functions of the migration
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_audio_posts_offline();
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_audio_posts(uuid, uuid, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_exceptions(text, text, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_other_posts(uuid[], boolean);
DROP FUNCTION IF EXISTS tracks_posts_separation.lock_posts_without_track(uuid, boolean, uuid, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.lock_files_of(uuid[]);
DROP FUNCTION IF EXISTS tracks_posts_separation.begin_batch(text);
DROP FUNCTION IF EXISTS tracks_posts_separation.may_be_quiet(text);
DROP FUNCTION IF EXISTS tracks_posts_separation.find_exceptions();
DROP FUNCTION IF EXISTS tracks_posts_separation.end_fill();
DROP FUNCTION IF EXISTS tracks_posts_separation.hold_track_of_post();
DROP FUNCTION IF EXISTS tracks_posts_separation.keep_tracks_of_posts();
DROP FUNCTION IF EXISTS tracks_posts_separation.expect_posts_of_other_files();
DROP FUNCTION IF EXISTS tracks_posts_separation.is_used_during_fill(uuid, uuid, text, uuid);

-- step: drop the functions of the rollback
DROP FUNCTION IF EXISTS
    tracks_posts_separation.unmigrate_audio_posts(uuid, uuid, integer), tracks_posts_separation.archive_unused_tracks(),
    tracks_posts_separation.archive_tracks(uuid[], boolean),
    tracks_posts_separation.lock_posts_with_track(uuid, boolean, uuid, integer),
    tracks_posts_separation.refuse_rows_of_others(regclass, uuid[], text, name[]),
    tracks_posts_separation.keys_of_others(regclass, name[]);
