-- Undoes migration 4: the constraint, the indexes and the comments. What the deployment had before stays. A rollback begins
-- here and goes on to migration 1; it can stop after any of the four.
-- The runner runs revert_functions.sql first; with psql: psql -f revert_functions.sql -f revert/<this file>.

-- step: drop constraint and indexes that the deployment did not have before
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- The foreign key to tracks becomes "not validated" again, as migration 1 left it.
DO $step$
DECLARE
    added record;
BEGIN
    FOR added IN
        SELECT a.command
        FROM (VALUES
            (1, 'audio_posts_must_have_track', 'ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS audio_posts_must_have_track'),
            (2, 'posts_track_id_fkey', 'ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS posts_track_id_fkey'),
            (3, 'posts_track_id_fkey', 'ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey'
                                       ' FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID'),
            (4, 'idx_tracks_user_id', 'DROP INDEX IF EXISTS public.idx_tracks_user_id'),
            (5, 'idx_tracks_created_at', 'DROP INDEX IF EXISTS public.idx_tracks_created_at'),
            (6, 'idx_tracks_is_public', 'DROP INDEX IF EXISTS public.idx_tracks_is_public')
        ) AS a (place, name, command)
        WHERE NOT EXISTS (
            SELECT FROM tracks_posts_separation.existed_before AS b
            WHERE b.kind IN ('constraint', 'index') AND b.name = a.name
        )
        ORDER BY a.place
    LOOP
        EXECUTE added.command;
    END LOOP;
END
$step$;

-- step: restore the comments
DO $step$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT name, definition FROM tracks_posts_separation.replaced WHERE kind = 'comment' LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN public.posts.%I IS %L', old.name, old.definition);
    END LOOP;
    DELETE FROM tracks_posts_separation.replaced WHERE kind = 'comment';
END
$step$;

-- step: hide batches from the triggers of posts again where the replica role is refused
-- lock: public.posts SHARE ROW EXCLUSIVE
SELECT tracks_posts_separation.quiet_post_triggers(true);

-- step: drop the functions of the rollback
DROP FUNCTION IF EXISTS
    tracks_posts_separation.unmigrate_audio_posts(uuid, uuid, integer), tracks_posts_separation.archive_unused_tracks(),
    tracks_posts_separation.archive_tracks(uuid[], boolean),
    tracks_posts_separation.lock_posts_with_track(uuid, boolean, uuid, integer),
    tracks_posts_separation.refuse_rows_of_others(regclass, uuid[], text, name[]),
    tracks_posts_separation.keys_of_others(regclass, name[]);
