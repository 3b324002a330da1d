SELECT state, environment, host FROM migration_runbook.run ORDER BY started_at;
