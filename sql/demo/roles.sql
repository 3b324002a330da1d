-- Roles of a Supabase-like cluster. Run as a superuser; can run again.
-- `postgres` is what the runbook connects as: it owns the application's tables and is not a superuser.

DO $roles$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT *
        FROM (VALUES
            ('postgres', 'LOGIN CREATEDB CREATEROLE BYPASSRLS'),
            ('anon', 'NOLOGIN NOINHERIT'),
            ('authenticated', 'NOLOGIN NOINHERIT'),
            ('service_role', 'NOLOGIN NOINHERIT BYPASSRLS'),
            ('authenticator', 'LOGIN NOINHERIT'),
            ('supabase_auth_admin', 'NOLOGIN NOINHERIT CREATEROLE'),
            ('moderation_admin', 'NOLOGIN')
        ) AS role (name, attributes)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
        END IF;
    END LOOP;
END
$roles$;

GRANT anon, authenticated, service_role TO authenticator;
GRANT anon, authenticated, service_role TO postgres;

ALTER ROLE postgres SET statement_timeout = '2min';
ALTER ROLE authenticator SET statement_timeout = '8s';
ALTER ROLE authenticated SET statement_timeout = '8s';
ALTER ROLE anon SET statement_timeout = '3s';

-- As on a hosted project: it may end sessions of other roles, those of superusers apart.
GRANT pg_signal_backend TO postgres;

-- Trials delete an account under the role of the sign-in service. Its rights do not pass on to postgres: before version
-- 16 a membership cannot be without them, so there the trial is not examined.
DO $membership$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN
        EXECUTE 'GRANT supabase_auth_admin TO postgres WITH INHERIT FALSE, SET TRUE';
    END IF;
END
$membership$;

GRANT SET ON PARAMETER session_replication_role TO postgres;
