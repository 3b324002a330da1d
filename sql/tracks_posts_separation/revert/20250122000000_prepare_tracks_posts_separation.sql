-- Takes migration 1 back: triggers, columns, indexes and the helper schema go. What was here before us stays, and what is
-- in the archive goes on in a schema of its own, tracks_posts_separation_kept.

-- step: take the tracks that the triggers made
-- data
-- Most of them, while the triggers still keep post and track in step.
SELECT tracks_posts_separation.unmigrate_audio_posts(NULL, NULL);

-- step: delete the tracks that the batches left
-- data
DO $step$
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.take_tracks_left()') IS NOT NULL THEN
        PERFORM tracks_posts_separation.take_tracks_left();
    END IF;
END
$step$;

-- step: the last tracks, and the compatibility triggers of posts
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- In one transaction: a post that is edited when the triggers are gone and its track is not would lose that edit.
DO $step$
BEGIN
    -- A check that waits for the commit would stand in the way of DROP TRIGGER.
    SET CONSTRAINTS ALL IMMEDIATE;
    IF pg_catalog.to_regprocedure('tracks_posts_separation.unmigrate_audio_posts(uuid, uuid, integer)') IS NOT NULL
        -- A restore puts the rows back itself.
        AND coalesce(pg_catalog.current_setting('runbook.restored_to', true), '') = ''
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
-- Nobody makes one any more: the triggers are gone. A track that a session let go of just before that is taken here.
DO $step$
DECLARE
    kept uuid[];
BEGIN
    IF pg_catalog.to_regprocedure('tracks_posts_separation.take_tracks_left()') IS NULL THEN
        RETURN;
    END IF;
    PERFORM tracks_posts_separation.unmigrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    PERFORM tracks_posts_separation.take_tracks_left();
    kept := ARRAY(SELECT tracks_posts_separation.made_tracks());
    IF pg_catalog.cardinality(kept) > 0 THEN
        RAISE EXCEPTION '% tracks that the migration made are left, for example %', pg_catalog.cardinality(kept), kept[1:5]
            USING HINT = 'A post uses them, so the new application still writes: stop it. Or a trigger of public.tracks keeps '
                'them: disable it. Then run the same command again.';
    END IF;
END
$step$;

-- step: triggers and checks of posts as they were
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
            'ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check %s NOT VALID',
            pg_catalog.regexp_replace(old.definition, ' NOT VALID$', '')
        );
        EXECUTE pg_catalog.format(
            'COMMENT ON CONSTRAINT posts_audio_fields_check ON public.posts IS %L', old.remark
        );
    END IF;
END
$step$;

-- step: key, index and column of posts
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks ACCESS EXCLUSIVE
-- The key goes first: without its index every delete of a track would scan posts.
DO $step$
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.existed_before') IS NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (
        SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'constraint' AND name = 'posts_track_id_fkey'
    ) THEN
        ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS posts_track_id_fkey;
    END IF;
    IF NOT EXISTS (
        SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'index' AND name = 'idx_posts_track_id'
    ) THEN
        DROP INDEX IF EXISTS public.idx_posts_track_id;
    END IF;
    IF NOT EXISTS (
        SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'column' AND name = 'posts.track_id'
    ) THEN
        ALTER TABLE public.posts DROP COLUMN IF EXISTS track_id;
    END IF;
    DROP INDEX IF EXISTS public.tracks_posts_separation_posts_file;
    DROP INDEX IF EXISTS public.tracks_posts_separation_tracks_file;
END
$step$;

-- step: columns of tracks
-- lock: public.tracks ACCESS EXCLUSIVE
DO $step$
DECLARE
    ours name;
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.existed_before') IS NULL THEN
        RETURN;
    END IF;
    FOREACH ours IN ARRAY ARRAY[
        'tracks_file_size_check', 'tracks_original_file_size_check', 'tracks_compression_ratio_check'
    ] LOOP
        IF NOT EXISTS (
            SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'constraint' AND name = ours
        ) THEN
            EXECUTE pg_catalog.format('ALTER TABLE public.tracks DROP CONSTRAINT IF EXISTS %I', ours);
        END IF;
    END LOOP;
    FOREACH ours IN ARRAY ARRAY[
        'file_size', 'mime_type', 'original_file_size', 'compression_ratio', 'compression_applied'
    ] LOOP
        IF NOT EXISTS (
            SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'column' AND name = 'tracks.' || ours
        ) THEN
            EXECUTE pg_catalog.format('ALTER TABLE public.tracks DROP COLUMN IF EXISTS %I', ours);
        END IF;
    END LOOP;
END
$step$;

-- step: validate posts_audio_fields_check as it was
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

-- step: the archive outlives the helper schema
-- What the old schema cannot hold is nowhere else. Migration 1 takes the schema in again.
DO $step$
DECLARE
    restored_to timestamptz := nullif(pg_catalog.current_setting('runbook.restored_to', true), '');
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation.archive') IS NULL THEN
        RETURN;
    END IF;
    -- A restore brings back itself what was archived since its backup; what was archived before goes on.
    DELETE FROM tracks_posts_separation.archive WHERE archived_at > restored_to;
    IF NOT EXISTS (SELECT FROM tracks_posts_separation.archive)
        AND NOT EXISTS (SELECT FROM tracks_posts_separation.derived_file_name)
    THEN
        RETURN;
    END IF;
    CREATE SCHEMA tracks_posts_separation_kept;
    COMMENT ON SCHEMA tracks_posts_separation_kept IS
        'Tracks vs Posts Separation: what a rollback could not put back. The next run takes it in. Not for applications.';
    ALTER TABLE tracks_posts_separation.archive SET SCHEMA tracks_posts_separation_kept;
    ALTER TABLE tracks_posts_separation.derived_file_name SET SCHEMA tracks_posts_separation_kept;
END
$step$;

-- step: helper schema
DROP SCHEMA IF EXISTS tracks_posts_separation CASCADE;
