-- The guide's migration 3, repaired so that it runs. One transaction.
-- Repair 1: the old key goes first. As described, the UPDATE fails on the first audio entry (23503).
-- Repair 2: where a playlist holds a post and its repost, both become the same track; the later entry goes, or the
-- UPDATE fails on unique (playlist_id, track_id).
CREATE TEMPORARY TABLE playlist_track_mapping ON COMMIT DROP AS
SELECT
    e.id,
    e.track_id AS old_track_id,
    p.track_id AS new_track_id,
    row_number() OVER (PARTITION BY e.playlist_id, p.track_id ORDER BY e.position, e.added_at, e.id) AS place
FROM public.playlist_tracks AS e
INNER JOIN public.posts AS p ON p.id = e.track_id
WHERE p.track_id IS NOT NULL;

ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey;

DELETE FROM public.playlist_tracks AS e
USING playlist_track_mapping AS m
WHERE m.id = e.id AND m.place > 1;

UPDATE public.playlist_tracks AS e
SET track_id = m.new_track_id
FROM playlist_track_mapping AS m
WHERE m.id = e.id;

ALTER TABLE public.playlist_tracks ADD CONSTRAINT playlist_tracks_track_id_fkey
    FOREIGN KEY (track_id) REFERENCES public.tracks (id) ON DELETE CASCADE;

DO $verify$
DECLARE
    invalid_references bigint;
BEGIN
    SELECT count(*) INTO invalid_references
    FROM public.playlist_tracks AS e
    WHERE NOT EXISTS (SELECT 1 FROM public.tracks AS t WHERE t.id = e.track_id);
    IF invalid_references > 0 THEN
        RAISE EXCEPTION '% playlist entries reference no track', invalid_references;
    END IF;
END
$verify$;
