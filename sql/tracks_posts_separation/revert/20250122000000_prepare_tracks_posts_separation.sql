-- Undoes migration 1, after the others: triggers, columns, indexes and the helper schema are dropped. What the
-- deployment had before stays; the archive continues in a schema of its own, tracks_posts_separation_kept.
-- The runner runs revert_functions.sql first; with psql: psql -f revert_functions.sql -f revert/<this file>.

-- step: undo what the triggers made
-- data
-- While the triggers still keep post and track in step: little is left for the step below that locks posts.
SELECT tracks_posts_separation.unmigrate_audio_posts(NULL, NULL);

-- step: delete the tracks that the batches left
-- data
DO $step$
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.made_track') IS NOT NULL THEN
        PERFORM tracks_posts_separation.archive_unused_tracks();
    END IF;
END
$step$;

-- step: undo the last tracks and drop the compatibility triggers of posts
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- In one transaction: a post that is edited when the triggers are gone and its track is not would lose that edit.
DO $step$
BEGIN
    -- Pending deferred checks would make DROP TRIGGER fail.
    SET CONSTRAINTS ALL IMMEDIATE;
    -- A restore puts the rows back itself.
    IF coalesce(pg_catalog.current_setting('runbook.restored_to', true), '') = ''
        AND EXISTS (
            SELECT FROM pg_catalog.pg_trigger
            WHERE tgrelid = 'public.posts'::pg_catalog.regclass
              AND tgname = 'zz_tracks_posts_separation_decide_update'
        )
    THEN
        PERFORM tracks_posts_separation.unmigrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    END IF;
    DROP TRIGGER IF EXISTS zz_tracks_posts_separation_decide_insert ON public.posts;
    DROP TRIGGER IF EXISTS zz_tracks_posts_separation_decide_update ON public.posts;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_follow_insert" ON public.posts;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_follow_update" ON public.posts;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_forget" ON public.posts;
    DROP TRIGGER IF EXISTS "A_tracks_posts_separation_1_note" ON public.posts;
    DROP TRIGGER IF EXISTS zz_tracks_posts_separation_note ON public.tracks;
END
$step$;

-- step: verify that no track of the migration is left
-- data
-- The triggers are gone, so no session makes one any more. A track that was released just before that is deleted here.
DO $step$
DECLARE
    kept uuid[];
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.made_track') IS NULL THEN
        RETURN;
    END IF;
    PERFORM tracks_posts_separation.unmigrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    PERFORM tracks_posts_separation.archive_unused_tracks();
    kept := ARRAY(SELECT id FROM tracks_posts_separation.made_track);
    IF pg_catalog.cardinality(kept) > 0 THEN
        RAISE EXCEPTION '% tracks that the migration made are left, for example %', pg_catalog.cardinality(kept), kept[1:5]
            USING HINT = 'A post has them, so the new application still writes: stop it. Or a trigger of public.tracks keeps '
                'them: disable it. Then run the same command again.';
    END IF;
END
$step$;

-- step: restore triggers and checks of posts
-- lock: public.posts ACCESS EXCLUSIVE
DO $step$
DECLARE
    old record;
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.replaced') IS NULL THEN
        RETURN;
    END IF;
    IF pg_catalog.to_regprocedure('tracks_posts_separation.quiet_post_triggers(boolean)') IS NOT NULL THEN
        PERFORM tracks_posts_separation.quiet_post_triggers(false);
    END IF;
    SELECT definition, remark INTO old
    FROM tracks_posts_separation.replaced
    WHERE kind = 'check' AND name = 'posts_audio_fields_check';
    IF FOUND THEN
        ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS posts_audio_fields_check;
        EXECUTE pg_catalog.format(
            'ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check %s NOT VALID', old.definition
        );
        EXECUTE pg_catalog.format(
            'COMMENT ON CONSTRAINT posts_audio_fields_check ON public.posts IS %L', old.remark
        );
    END IF;
END
$step$;

-- step: drop constraints, indexes and columns that the deployment did not have before
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- The foreign key first: without its index every delete of a track would scan posts.
DO $step$
DECLARE
    added record;
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.existed_before') IS NULL THEN
        RETURN;
    END IF;
    FOR added IN
        SELECT a.*
        FROM (VALUES
            (1, 'constraint', 'posts', 'posts_track_id_fkey'),
            (2, 'index', 'posts', 'idx_posts_track_id'),
            (3, 'column', 'posts', 'track_id'),
            (4, 'constraint', 'tracks', 'tracks_file_size_check'),
            (4, 'constraint', 'tracks', 'tracks_original_file_size_check'),
            (4, 'constraint', 'tracks', 'tracks_compression_ratio_check'),
            (5, 'column', 'tracks', 'file_size'),
            (5, 'column', 'tracks', 'mime_type'),
            (5, 'column', 'tracks', 'original_file_size'),
            (5, 'column', 'tracks', 'compression_ratio'),
            (5, 'column', 'tracks', 'compression_applied')
        ) AS a (place, kind, table_name, name)
        WHERE NOT EXISTS (
            SELECT FROM tracks_posts_separation.existed_before AS b
            WHERE b.kind = a.kind AND b.name = CASE a.kind WHEN 'column' THEN a.table_name || '.' ELSE '' END || a.name
        )
        ORDER BY a.place, a.name
    LOOP
        IF added.kind = 'index' THEN
            EXECUTE pg_catalog.format('DROP INDEX IF EXISTS public.%I', added.name);
        ELSE
            EXECUTE pg_catalog.format(
                'ALTER TABLE public.%I DROP %s IF EXISTS %I', added.table_name, added.kind, added.name
            );
        END IF;
    END LOOP;
    DROP INDEX IF EXISTS public.tracks_posts_separation_posts_file;
    DROP INDEX IF EXISTS public.tracks_posts_separation_tracks_file;
END
$step$;

-- step: validate posts_audio_fields_check where it was valid before
-- A restore in place runs this before it puts the rows back: a row that breaks the rule then is no reason to stop.
DO $step$
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.replaced') IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (
        SELECT FROM tracks_posts_separation.replaced
        WHERE kind = 'check' AND name = 'posts_audio_fields_check' AND was_valid
          AND definition NOT LIKE '% NOT ENFORCED'
    ) THEN
        ALTER TABLE public.posts VALIDATE CONSTRAINT posts_audio_fields_check;
    END IF;
EXCEPTION WHEN check_violation THEN
    RAISE WARNING 'posts_audio_fields_check is back but not validated: %', SQLERRM
        USING HINT = 'Repair the posts and run: ALTER TABLE public.posts VALIDATE CONSTRAINT posts_audio_fields_check;';
END
$step$;

-- step: keep the archive in a schema of its own
-- What the old schema cannot hold is nowhere else. Migration 1 continues the archive.
DO $step$
DECLARE
    restored_to timestamptz := nullif(pg_catalog.current_setting('runbook.restored_to', true), '');
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.archive') IS NULL THEN
        RETURN;
    END IF;
    -- A restore returns what was archived since its backup; what was archived before stays.
    DELETE FROM tracks_posts_separation.archive WHERE archived_at > restored_to;
    IF NOT EXISTS (SELECT FROM tracks_posts_separation.archive)
        AND NOT EXISTS (SELECT FROM tracks_posts_separation.derived_file_name)
    THEN
        RETURN;
    END IF;
    CREATE SCHEMA tracks_posts_separation_kept;
    COMMENT ON SCHEMA tracks_posts_separation_kept IS
        'Tracks vs Posts Separation: what a rollback could not put back. The next run continues it. Not for applications.';
    ALTER TABLE tracks_posts_separation.archive SET SCHEMA tracks_posts_separation_kept;
    ALTER TABLE tracks_posts_separation.derived_file_name SET SCHEMA tracks_posts_separation_kept;
END
$step$;

-- step: drop the helper schema
-- CASCADE: the functions and views in it depend on each other. What others have built on them goes, too.
DROP SCHEMA IF EXISTS tracks_posts_separation CASCADE;
