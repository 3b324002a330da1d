SELECT datname::text FROM pg_catalog.pg_database WHERE datname LIKE 'runbook\_drill\_%';
