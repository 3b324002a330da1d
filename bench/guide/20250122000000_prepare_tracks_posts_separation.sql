-- The guide's migration 1, written from its description: column, index, key not validated yet, columns of tracks.
-- One transaction; everything blocks.
ALTER TABLE public.posts ADD COLUMN IF NOT EXISTS track_id uuid;

CREATE INDEX IF NOT EXISTS idx_posts_track_id ON public.posts (track_id);

ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey
    FOREIGN KEY (track_id) REFERENCES public.tracks (id) ON DELETE SET NULL NOT VALID;

ALTER TABLE public.tracks
    ADD COLUMN IF NOT EXISTS file_size integer CONSTRAINT tracks_file_size_check CHECK (file_size > 0),
    ADD COLUMN IF NOT EXISTS mime_type text,
    ADD COLUMN IF NOT EXISTS original_file_size integer
        CONSTRAINT tracks_original_file_size_check CHECK (original_file_size > 0),
    ADD COLUMN IF NOT EXISTS compression_ratio numeric(4, 2)
        CONSTRAINT tracks_compression_ratio_check CHECK (compression_ratio > 0),
    ADD COLUMN IF NOT EXISTS compression_applied boolean DEFAULT false;
