-- Remove what belongs to a superuser from the demo database, and create a role that acts for all owners.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'swap_owner') THEN
        CREATE ROLE swap_owner LOGIN CREATEDB BYPASSRLS
            IN ROLE postgres, supabase_auth_admin, moderation_admin, pg_signal_backend;
        GRANT SET ON PARAMETER session_replication_role TO swap_owner;
    END IF;
END $$;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public
    REVOKE ALL ON TABLES FROM postgres, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public
    REVOKE ALL ON FUNCTIONS FROM postgres, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public
    REVOKE ALL ON SEQUENCES FROM postgres, anon, authenticated, service_role;
DROP SCHEMA IF EXISTS demo_data CASCADE;
