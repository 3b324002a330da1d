SELECT d.datname, shobj_description(d.oid, 'pg_database')
FROM pg_database AS d
JOIN migration_runbook.run AS r ON d.datname IN (
    current_database() || '_old_' || r.run_id, current_database() || '_new_' || r.run_id
);
