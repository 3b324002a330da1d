-- Takes migration 2 back: posts lose their track_id, tracks made from posts go, real uploads stay.
-- The compatibility triggers of migration 1 stay: what the application writes meanwhile gets its track from them.

-- step: an index of an interrupted fill
-- data
SELECT tracks_posts_separation.clear_unusable_index(
    'idx_posts_track_id', 'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
);

-- step: index idx_posts_track_id, where a fill was interrupted
-- data
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

-- step: index and key of posts.track_id are back
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- A restore in place leaves out the two steps above; it has the tables to itself.
DO $step$
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.setting') IS NULL THEN
        RETURN;
    END IF;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_keep_track" ON public.tracks;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_keep_tracks" ON public.tracks;
    IF tracks_posts_separation.is_filling() THEN
        PERFORM tracks_posts_separation.clear_unusable_index(
            'idx_posts_track_id', 'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'
        );
        CREATE INDEX IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);
        IF NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint
            WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'posts_track_id_fkey'
        ) THEN
            ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
                FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID;
        END IF;
    END IF;
    DELETE FROM tracks_posts_separation.setting
    WHERE name IN ('exceptions_are_listed', 'fill_is_wanted', 'fill_without_index', 'posts_of_other_files');
END
$step$;

-- step: take the tracks away from their posts
-- data
SELECT tracks_posts_separation.unmigrate_audio_posts(NULL, NULL);

-- step: delete the tracks that the batches left
-- data
SELECT tracks_posts_separation.take_tracks_left();

-- step: functions of the backfill
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_audio_posts_offline();
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_audio_posts(uuid, uuid, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_exceptions(text, text, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.lock_posts_without_track(uuid, boolean, uuid, integer);
DROP FUNCTION IF EXISTS tracks_posts_separation.begin_batch();
DROP FUNCTION IF EXISTS tracks_posts_separation.lock_files_of(uuid[]);
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_other_posts(uuid[], boolean);
DROP FUNCTION IF EXISTS tracks_posts_separation.inserts_may_be_quiet();
DROP FUNCTION IF EXISTS tracks_posts_separation.most_posts_are_left();
DROP FUNCTION IF EXISTS tracks_posts_separation.find_exceptions();
DROP TABLE IF EXISTS tracks_posts_separation.exception;
