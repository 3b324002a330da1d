-- The limit, part 1: tracks. The fastest form known, for a database that nobody uses: no compatibility triggers, no
-- resume, no batches, tables locked from the first statement. Same rules for ids as our migrations (a track takes the
-- id of its post; reposts and files that have a track already are the exceptions), so the end state is the same.
SET LOCAL work_mem = '256MB';
SET LOCAL maintenance_work_mem = '512MB';

LOCK TABLE public.posts, public.tracks, public.playlist_tracks IN ACCESS EXCLUSIVE MODE;

CREATE UNLOGGED TABLE public.limit_exception AS
WITH repeated AS (
    SELECT user_id, audio_url, (array_agg(id ORDER BY created_at, id))[1] AS id
    FROM public.posts
    WHERE post_type = 'audio'
    GROUP BY user_id, audio_url
    HAVING count(*) > 1
),
library AS (
    SELECT DISTINCT ON (user_id, file_url) user_id, file_url, id
    FROM public.tracks
    ORDER BY user_id, file_url, created_at, id
)
SELECT p.id AS post_id, coalesce(library.id, repeated.id) AS track_id
FROM public.posts AS p
LEFT JOIN library ON library.user_id = p.user_id AND library.file_url = p.audio_url
LEFT JOIN repeated ON repeated.user_id = p.user_id AND repeated.audio_url = p.audio_url
WHERE p.post_type = 'audio' AND coalesce(library.id, repeated.id) <> p.id;
CREATE UNIQUE INDEX ON public.limit_exception (post_id);
ANALYZE public.limit_exception;

-- Indexes and keys of tracks are built once, behind the rows.
ALTER TABLE public.tracks
    DROP CONSTRAINT tracks_pkey,
    DROP CONSTRAINT tracks_user_id_fkey,
    ADD COLUMN file_size integer,
    ADD COLUMN mime_type text,
    ADD COLUMN original_file_size integer,
    ADD COLUMN compression_ratio numeric(4, 2),
    ADD COLUMN compression_applied boolean DEFAULT false;

INSERT INTO public.tracks (
    id, user_id, title, description, file_url, duration, is_public, created_at, updated_at,
    file_size, mime_type, original_file_size, compression_ratio, compression_applied
)
SELECT
    p.id,
    p.user_id,
    coalesce(
        nullif(left(btrim(p.audio_filename, E' \t\r\n'), 255), ''),
        'Audio from ' || to_char(timezone('UTC', p.created_at), 'YYYY-MM-DD')
    ),
    p.content,
    p.audio_url,
    p.audio_duration,
    true,
    p.created_at,
    p.updated_at,
    p.audio_file_size,
    p.audio_mime_type,
    p.audio_file_size,
    1.0,
    false
FROM public.posts AS p
LEFT JOIN public.limit_exception AS e ON e.post_id = p.id
WHERE p.post_type = 'audio' AND e.post_id IS NULL;

ALTER TABLE public.tracks
    ADD CONSTRAINT tracks_pkey PRIMARY KEY (id),
    ADD CONSTRAINT tracks_file_size_check CHECK (file_size > 0),
    ADD CONSTRAINT tracks_original_file_size_check CHECK (original_file_size > 0),
    ADD CONSTRAINT tracks_compression_ratio_check CHECK (compression_ratio > 0);
ALTER TABLE public.tracks ADD CONSTRAINT tracks_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES public.profiles (id) ON DELETE CASCADE;
CREATE INDEX idx_tracks_user_id ON public.tracks (user_id);
CREATE INDEX idx_tracks_created_at ON public.tracks (created_at DESC);
CREATE INDEX idx_tracks_is_public ON public.tracks (is_public) WHERE is_public = true;
