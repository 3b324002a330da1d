DO $$
DECLARE
    here text := format('%I', current_database());
BEGIN
    EXECUTE 'ALTER DATABASE ' || here || ' OWNER TO postgres';
    EXECUTE 'COMMENT ON DATABASE ' || here || ' IS ''the service''''s database''';
    EXECUTE 'REVOKE TEMPORARY ON DATABASE ' || here || ' FROM PUBLIC';
    EXECUTE 'GRANT CONNECT ON DATABASE ' || here || ' TO anon, authenticated';
    EXECUTE 'ALTER DATABASE ' || here || ' SET search_path = public, auth';
    EXECUTE 'ALTER DATABASE ' || here || ' SET work_mem = ''6MB''';
    EXECUTE 'ALTER DATABASE ' || here || ' CONNECTION LIMIT 50';
END $$;
