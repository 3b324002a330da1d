SELECT (SELECT min(at) FROM migration_runbook.event WHERE phase = 'backup_drilled' AND status = 'ok')
    < (SELECT min(started_at) FROM migration_runbook.step);
