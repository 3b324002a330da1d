-- Sessions that still hold the lease of this database.
SELECT name, run_id FROM migration_runbook.lease WHERE released_at IS NULL;
