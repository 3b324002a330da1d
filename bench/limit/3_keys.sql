-- The limit, part 3: playlist entries of reposts, keys, comments.
SET LOCAL work_mem = '256MB';
SET LOCAL maintenance_work_mem = '512MB';

ALTER TABLE public.posts ADD CONSTRAINT posts_track_id_fkey FOREIGN KEY (track_id) REFERENCES public.tracks (id);

ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey;

DELETE FROM public.playlist_tracks AS e
USING (
    SELECT
        entry.id,
        row_number() OVER (
            PARTITION BY entry.playlist_id, coalesce(x.track_id, entry.track_id)
            ORDER BY entry.position, entry.added_at, entry.id
        ) AS place
    FROM public.playlist_tracks AS entry
    LEFT JOIN public.limit_exception AS x ON x.post_id = entry.track_id
) AS ranked
WHERE ranked.id = e.id AND ranked.place > 1;

UPDATE public.playlist_tracks AS e
SET track_id = x.track_id
FROM public.limit_exception AS x
WHERE x.post_id = e.track_id;

ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey
    FOREIGN KEY (track_id) REFERENCES public.tracks (id) ON DELETE CASCADE;

DROP TABLE public.limit_exception;

COMMENT ON COLUMN public.posts.audio_url IS 'DEPRECATED: use tracks.file_url through posts.track_id';
COMMENT ON COLUMN public.posts.audio_filename IS 'DEPRECATED: use tracks.title through posts.track_id';
COMMENT ON COLUMN public.posts.audio_mime_type IS 'DEPRECATED: use tracks.mime_type through posts.track_id';
COMMENT ON COLUMN public.posts.audio_file_size IS 'DEPRECATED: use tracks.file_size through posts.track_id';
COMMENT ON COLUMN public.posts.audio_duration IS 'DEPRECATED: use tracks.duration through posts.track_id';
