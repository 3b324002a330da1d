SELECT 'owner' AS what, pg_get_userbyid(datdba)::text AS value FROM pg_database WHERE datname = current_database()
UNION ALL SELECT 'limit', datconnlimit::text FROM pg_database WHERE datname = current_database()
UNION ALL SELECT 'comment', shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()
UNION ALL SELECT 'grant', entry.grantee::regrole || ' ' || entry.privilege_type || ' ' || entry.is_grantable
            FROM pg_database CROSS JOIN LATERAL aclexplode(datacl) AS entry WHERE datname = current_database()
UNION ALL SELECT 'setting', setrole || ' ' || unnest(setconfig)
            FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase WHERE datname = current_database()
ORDER BY 1, 2;
