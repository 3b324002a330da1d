"""Read one run from the journal, for its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..control.control import PHASE as CONTROL
from ..database.connection import Cursor, SessionSettings, read_only_snapshot, rows_as_dicts, session
from ..errors import RunbookError
from ..journal.changes import has_changed
from ..journal.runs import exists


def read_journal(connection_options: Mapping[str, Any], run_id: str) -> tuple[dict[str, Any], str]:
    """Return events and steps of the run, and why they could not be read (empty if they could)."""
    try:
        wanted = SessionSettings(application_name="runbook report", read_only=True)
        with session(connection_options, wanted) as connection, read_only_snapshot(connection) as cursor:
            if not exists(cursor):
                return {}, ""
            cursor.execute(
                "SELECT state = 'open' AS open, state, started_at, finished_at"
                " FROM migration_runbook.run WHERE run_id = %s",
                (run_id,),
            )
            rows = rows_as_dicts(cursor)
            if not rows:
                return {}, ""
            cursor.execute(
                "SELECT at, phase, status, details FROM migration_runbook.event WHERE run_id = %s ORDER BY id",
                (run_id,),
            )
            events = rows_as_dicts(cursor)
            details = {event["phase"]: event.pop("details") for event in events}
            cursor.execute(
                "SELECT version, direction, step_number, name, kind, state, rows_moved, attempts,"
                " started_at, finished_at, superseded_at FROM migration_runbook.step WHERE run_id = %s ORDER BY id",
                (run_id,),
            )
            steps = rows_as_dicts(cursor)
            found = {**rows[0], "events": events, "steps": [step for step in steps if not step["superseded_at"]]}
            found["superseded_steps"] = [step for step in steps if step["superseded_at"]]
            found["application_away"] = details.get("application_away") or {}
            found["changed"] = has_changed(cursor, run_id)
            found["aborted"] = (details.get(CONTROL) or {}).get("command") == "abort"
            return {**found, **_pauses_and_repairs(cursor, run_id)}, ""
    except RunbookError as error:
        return {}, f"the journal could not be read: {error.msg}"


def _pauses_and_repairs(cursor: Cursor, run_id: str) -> dict[str, Any]:
    """Read the run's pauses, and repairs since it began; a journal of an earlier version has neither."""
    found: dict[str, Any] = {"pauses": [], "repairs": []}
    cursor.execute(
        "SELECT to_regclass('migration_runbook.pause') IS NOT NULL, to_regclass('migration_runbook.repair') IS NOT NULL"
    )
    pauses, repairs = cursor.fetchone() or (False, False)
    if pauses:
        cursor.execute(
            "SELECT version, signal, reason, started_at, ended_at FROM migration_runbook.pause"
            " WHERE run_id = %s ORDER BY id",
            (run_id,),
        )
        found["pauses"] = rows_as_dicts(cursor)
    if repairs:
        cursor.execute(
            "SELECT at, repair_id, issue, remedy, rows_changed, rows_archived FROM migration_runbook.repair"
            " WHERE run_id = %s ORDER BY at",
            (run_id,),
        )
        found["repairs"] = rows_as_dicts(cursor)
    return found
