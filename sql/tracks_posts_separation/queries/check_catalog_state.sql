-- What only looks finished: constraints not validated, indexes not valid, triggers switched off.
SELECT
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint AS c WHERE c.conrelid = ANY (ours.tables) AND NOT c.convalidated)
        AS unvalidated_constraints,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index AS i
     WHERE i.indrelid = ANY (ours.tables) AND NOT (i.indisvalid AND i.indisready)) AS invalid_indexes,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t
     WHERE t.tgrelid = ANY (ours.tables) AND t.tgenabled = 'D') AS disabled_triggers,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint AS c WHERE c.conrelid = ANY (ours.tables))
        + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index AS i WHERE i.indrelid = ANY (ours.tables))
        + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = ANY (ours.tables)) AS rows_examined
FROM (
    SELECT ARRAY[
        pg_catalog.to_regclass('public.posts')::oid,
        pg_catalog.to_regclass('public.tracks')::oid,
        pg_catalog.to_regclass('public.playlist_tracks')::oid
    ] AS tables
) AS ours
