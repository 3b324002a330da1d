SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname LIKE 'tracks\_posts%' ORDER BY 1
