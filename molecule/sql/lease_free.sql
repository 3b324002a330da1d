-- Who still holds the right to change this database.
SELECT name, run_id FROM migration_runbook.lease WHERE released_at IS NULL;
