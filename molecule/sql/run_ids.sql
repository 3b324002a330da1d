SELECT run_id, directory FROM migration_runbook.run ORDER BY started_at;
