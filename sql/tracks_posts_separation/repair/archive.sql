-- The archive before migration 1, which makes the same where it is missing.
CREATE SCHEMA IF NOT EXISTS tracks_posts_separation;
-- A rollback kept it in a schema of its own: it goes on here.
DO $step$
BEGIN
    IF pg_catalog.to_regclass('tracks_posts_separation_kept.archive') IS NOT NULL
        AND pg_catalog.to_regclass('tracks_posts_separation.archive') IS NULL
    THEN
        ALTER TABLE tracks_posts_separation_kept.archive SET SCHEMA tracks_posts_separation;
        ALTER TABLE tracks_posts_separation_kept.derived_file_name SET SCHEMA tracks_posts_separation;
        DROP SCHEMA tracks_posts_separation_kept;
    END IF;
END
$step$;
CREATE TABLE IF NOT EXISTS tracks_posts_separation.archive (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason text NOT NULL,
    table_name text NOT NULL,
    row_data jsonb NOT NULL,
    run_id text,
    archived_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX IF NOT EXISTS archive_reason_and_row
    ON tracks_posts_separation.archive (reason, ((row_data ->> 'id')::uuid))
    WHERE reason IN (
        'entry_repointed', 'entry_collapsed', 'entry_without_track', 'request_met_entry', 'entry_of_replaced_track',
        'entry_of_deleted_track', 'entry_without_post', 'changed_track_of_post', 'track_without_post', 'reverted_track'
    );
DO $step$
DECLARE
    application_role text;
BEGIN
    FOR application_role IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT pg_catalog.quote_ident(rolname)
        FROM pg_catalog.pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'service_role')
    LOOP
        EXECUTE 'REVOKE ALL ON SCHEMA tracks_posts_separation FROM ' || application_role;
        EXECUTE 'REVOKE ALL ON TABLE tracks_posts_separation.archive FROM ' || application_role;
    END LOOP;
END
$step$;
