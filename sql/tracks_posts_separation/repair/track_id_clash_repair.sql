-- A new id for the track. What points at it by a key without ON UPDATE refuses: then nothing changes.
WITH changed AS (
    UPDATE public.tracks AS t SET id = pg_catalog.gen_random_uuid()
    FROM pg_temp.found AS f
    WHERE t.id = f.key::uuid
    RETURNING 1
)
SELECT pg_catalog.count(*) FROM changed
