-- Tracks vs Posts Separation, migration 4: finalization.
--
-- From here an audio post without a track is impossible, and what the new application reads has its indexes. The
-- compatibility triggers stay until retire/ removes them; the archive and what a rollback needs stay after that, too.

-- step: add the constraint audio_posts_must_have_track, not validated
-- lock: public.posts ACCESS EXCLUSIVE
DO $step$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = 'public.posts'::pg_catalog.regclass AND conname = 'audio_posts_must_have_track'
    ) THEN
        ALTER TABLE public.posts ADD CONSTRAINT audio_posts_must_have_track
            CHECK (post_type <> 'audio' OR track_id IS NOT NULL) NOT VALID;
    END IF;
END
$step$;

-- step: validate audio_posts_must_have_track
ALTER TABLE public.posts VALIDATE CONSTRAINT audio_posts_must_have_track;

-- step: validate posts_track_id_fkey
ALTER TABLE public.posts VALIDATE CONSTRAINT posts_track_id_fkey;

-- step: drop unusable indexes of an earlier attempt
SELECT
    tracks_posts_separation.clear_unusable_index(
        'CREATE INDEX idx_tracks_user_id ON public.tracks USING btree (user_id)'
    ),
    tracks_posts_separation.clear_unusable_index(
        'CREATE INDEX idx_tracks_created_at ON public.tracks USING btree (created_at DESC)'
    ),
    tracks_posts_separation.clear_unusable_index(
        'CREATE INDEX idx_tracks_is_public ON public.tracks USING btree (is_public) WHERE (is_public = true)',
        'CREATE INDEX idx_tracks_is_public ON public.tracks USING btree (is_public) WHERE is_public'
    );

-- step: index tracks.user_id
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tracks_user_id ON public.tracks (user_id);

-- step: index tracks.created_at
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tracks_created_at ON public.tracks (created_at DESC);

-- step: index tracks.is_public
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tracks_is_public ON public.tracks (is_public) WHERE is_public = true;

-- step: comment the deprecated columns
DO $step$
BEGIN
    INSERT INTO tracks_posts_separation.replaced (kind, name, definition)
    SELECT 'comment', a.attname, pg_catalog.col_description(a.attrelid, a.attnum)
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = 'public.posts'::pg_catalog.regclass
      AND a.attname IN ('audio_url', 'audio_filename', 'audio_mime_type', 'audio_file_size', 'audio_duration')
      AND NOT a.attisdropped
    ON CONFLICT (kind, name) DO NOTHING;
    COMMENT ON COLUMN public.posts.audio_url IS 'DEPRECATED: use tracks.file_url through posts.track_id';
    COMMENT ON COLUMN public.posts.audio_filename IS 'DEPRECATED: use tracks.title through posts.track_id';
    COMMENT ON COLUMN public.posts.audio_mime_type IS 'DEPRECATED: use tracks.mime_type through posts.track_id';
    COMMENT ON COLUMN public.posts.audio_file_size IS 'DEPRECATED: use tracks.file_size through posts.track_id';
    COMMENT ON COLUMN public.posts.audio_duration IS 'DEPRECATED: use tracks.duration through posts.track_id';
END
$step$;

-- step: restore the triggers of posts as they were before the backfill
-- lock: public.posts SHARE ROW EXCLUSIVE
SELECT tracks_posts_separation.quiet_post_triggers(false);

-- step: verify that nothing is left unvalidated
DO $step$
DECLARE
    open_names text;
BEGIN
    SELECT pg_catalog.string_agg(conname, ', ' ORDER BY conname) INTO open_names
    FROM pg_catalog.pg_constraint
    WHERE conname IN ('audio_posts_must_have_track', 'posts_track_id_fkey', 'playlist_tracks_track_id_fkey')
      AND conrelid IN ('public.posts'::pg_catalog.regclass, 'public.playlist_tracks'::pg_catalog.regclass)
      AND NOT convalidated;
    IF open_names IS NOT NULL THEN
        RAISE EXCEPTION 'constraints that are not validated: %', open_names
            USING HINT = 'Run migration 4 again; the step that validates names the rows that break the rule.';
    END IF;
END
$step$;
