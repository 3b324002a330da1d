-- The guide's migration 4, written from its description: constraint, performance indexes, comments. One transaction.
-- posts_track_id_fkey, "not validated yet" in migration 1, is validated here: every contender ends with valid keys.
ALTER TABLE public.posts ADD CONSTRAINT audio_posts_must_have_track
    CHECK (post_type <> 'audio' OR track_id IS NOT NULL);

ALTER TABLE public.posts VALIDATE CONSTRAINT posts_track_id_fkey;

CREATE INDEX IF NOT EXISTS idx_tracks_user_id ON public.tracks (user_id);
CREATE INDEX IF NOT EXISTS idx_tracks_created_at ON public.tracks (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_tracks_is_public ON public.tracks (is_public) WHERE is_public = true;

COMMENT ON COLUMN public.posts.audio_url IS 'DEPRECATED: use tracks.file_url through posts.track_id';
COMMENT ON COLUMN public.posts.audio_filename IS 'DEPRECATED: use tracks.title through posts.track_id';
COMMENT ON COLUMN public.posts.audio_mime_type IS 'DEPRECATED: use tracks.mime_type through posts.track_id';
COMMENT ON COLUMN public.posts.audio_file_size IS 'DEPRECATED: use tracks.file_size through posts.track_id';
COMMENT ON COLUMN public.posts.audio_duration IS 'DEPRECATED: use tracks.duration through posts.track_id';
