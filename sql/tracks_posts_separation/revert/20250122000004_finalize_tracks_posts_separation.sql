-- Takes migration 4 back: the constraint, the indexes and the comments. What was here before us stays.

-- step: constraint audio_posts_must_have_track
-- lock: public.posts ACCESS EXCLUSIVE
-- lock: public.tracks SHARE ROW EXCLUSIVE
-- The key to tracks goes back to "not validated" too, as migration 1 left it.
DO $step$
BEGIN
    IF NOT EXISTS (
        SELECT FROM tracks_posts_separation.existed_before
        WHERE kind = 'constraint' AND name = 'audio_posts_must_have_track'
    ) THEN
        ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS audio_posts_must_have_track;
    END IF;
    IF NOT EXISTS (
        SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'constraint' AND name = 'posts_track_id_fkey'
    ) THEN
        ALTER TABLE public.posts DROP CONSTRAINT IF EXISTS posts_track_id_fkey;
        ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
            FOREIGN KEY (track_id) REFERENCES public.tracks (id) NOT VALID;
    END IF;
END
$step$;

-- step: indexes of tracks
-- lock: public.tracks ACCESS EXCLUSIVE
DO $step$
DECLARE
    ours name;
BEGIN
    FOREACH ours IN ARRAY ARRAY['idx_tracks_user_id', 'idx_tracks_created_at', 'idx_tracks_is_public'] LOOP
        IF NOT EXISTS (
            SELECT FROM tracks_posts_separation.existed_before WHERE kind = 'index' AND name = ours
        ) THEN
            EXECUTE pg_catalog.format('DROP INDEX IF EXISTS public.%I', ours);
        END IF;
    END LOOP;
END
$step$;

-- step: comments as they were
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

-- step: quiet the triggers of posts again where the replica role is refused
-- lock: public.posts SHARE ROW EXCLUSIVE
SELECT tracks_posts_separation.quiet_post_triggers(true);
