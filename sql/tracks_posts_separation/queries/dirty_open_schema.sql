SELECT n.nspname AS schema_name, pg_catalog.pg_get_userbyid(n.nspowner) AS owner
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname !~ '^pg_'
  AND EXISTS (
      SELECT
      FROM pg_catalog.aclexplode(n.nspacl) AS granted
      WHERE granted.grantee = 0 AND granted.privilege_type = 'CREATE'
  )
ORDER BY 1
