"""End the change log, and an open run that has changed no table of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..database.connection import Cursor
from ..errors import RunbookError
from ..journal.changes import abandon_now, has_changed, require_idle
from ..journal.lease import exclusive
from ..journal.runs import find_open_run, playbook_command
from . import change_log_tables as log
from .change_log import LogTriggers, Params, result_of, sessions

Run = Mapping[str, Any]


def end(params: Params, *, check_mode: bool) -> dict[str, Any]:
    """Remove the triggers and the log. See pg_change_log for options and result.

    An open run that has changed no table of the plan is closed with its log.

    :raises RunbookError: an open run other than the given one has changed tables.
    """
    ending = (params["run"] or {}).get("id")
    with sessions(params, "", check_mode) as (connection, observer):
        with connection.cursor() as cursor:
            logged, there = list(log.current(cursor)), log.exists(cursor)
            run = find_open_run(cursor)
            closes = run is not None and run["run_id"] != ending and _may_close(cursor, run, there)
        triggers = LogTriggers(params, connection, observer, "")
        if check_mode:
            for name in logged:
                triggers.note(name, "removed")
        elif there or closes:
            with exclusive(connection, "end_change_log"):
                _remove(triggers, logged, there)
                if run and closes:
                    abandon_now(connection, run["run_id"], "closed by playbooks/end_change_log.yml")
    result = result_of(triggers, would=check_mode)
    if run and closes:
        words = "would be closed" if check_mode else "is closed"
        result["msg"] += f"; run {run['run_id']} {words}: it has changed no table of the plan"
        result["changed"] = True
    return result


def end_refused(connection_options: Mapping[str, Any], run_id: str, reason: str) -> None:
    """Remove the change log of a run that was refused before it changed anything, and close the run.

    The waits are shorter than those of end(): if the application holds the locks, the next command closes the run.

    :raises RunbookError: the run has changed tables, another command is at work, or a lock was not granted.
    """
    params: dict[str, Any] = {
        "connection": connection_options,
        "locking": {"lock_attempts": 5, "lock_attempts_limit_seconds": 10, "lock_pause_seconds": 0.5},
        "statement_timeout_seconds": 60,
        "progress_file": None,
    }
    with sessions(params, "", False) as (connection, observer):
        with connection.cursor() as cursor:
            require_idle(cursor, {"run_id": run_id})
            logged, there = list(log.current(cursor)), log.exists(cursor)
        with exclusive(connection, run_id):
            # Checked while no other session can write: an active run has the lease.
            with connection.cursor() as cursor:
                if has_changed(cursor, run_id):
                    return
            _remove(LogTriggers(params, connection, observer, ""), logged, there)
            abandon_now(connection, run_id, reason)


def _may_close(cursor: Cursor, run: Run, there: bool) -> bool:
    """Return whether an open run is closed with the log; refuse a run that needs the log."""
    if not has_changed(cursor, run["run_id"]):
        require_idle(cursor, run)
        return True
    if there:
        raise RunbookError(
            f"run {run['run_id']} is open: its comparison with the snapshot needs the change log.",
            object_name=run["run_id"],
            next_command=f"{playbook_command('migrate.yml', run)} (or rollback.yml) to end the run first",
        )
    return False


def _remove(triggers: LogTriggers, logged: list[str], there: bool) -> None:
    for name in logged:
        triggers.end(name)
    if there:
        triggers.drop_log()
