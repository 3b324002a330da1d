"""Open, record and close runs: one run has one id from its first write until it is complete."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from typing import Any

import psycopg2
from psycopg2.extras import Json

from ..database.connection import Connection, Cursor, rows_as_dicts, transaction
from ..errors import RunbookError
from ..plain import to_plain
from ..private_files import make_directories
from .changes import OVER, abandon, require_idle
from .guard import (
    REQUIRED_PHASES,
    find_open_run,
    find_run,
    is_superseded,
    playbook_command,
    require_not_rolled_back,
    require_open,
    require_run_ready,
    require_same_place,
    require_same_plan,
)
from .lease import exclusive
from .schema import SCHEMA, ensure, exists

__all__ = [
    "REQUIRED_PHASES",
    "SCHEMA",
    "close_run",
    "ensure",
    "exists",
    "find_open_run",
    "find_run",
    "new_run_id",
    "open_run",
    "playbook_command",
    "record",
    "reopen_run",
    "require_not_rolled_back",
    "require_open",
    "require_run_ready",
    "require_same_place",
    "require_same_plan",
]


def new_run_id() -> str:
    """Return an id like ``20250122T101500Z-3f9a1c``: sorts by time, fit for a directory's name."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def open_run(
    connection: Connection,
    *,
    plan: str,
    plan_hash: str,
    environment: str = "",
    host: str = "",
    run_id: str = "",
    directory: str = "",
) -> dict[str, Any]:
    """Return the open run of this plan, or open one.

    An open run of other files that has changed no table of the plan is closed first.

    :param run_id: the id of a run opened now; generated if empty.
    :param directory: of the run; created with mode 0700.
    :returns: the run's row and ``resumed``: whether it was open before.
    :raises RunbookError: a run is open that has another plan hash or id, or that another inventory started.
    """
    ensure(connection)
    named, run_id = bool(run_id), run_id or new_run_id()
    with connection.cursor() as cursor:
        found = find_open_run(cursor)
        if found is not None:
            require_same_place(found, environment, host)
            if is_superseded(cursor, found, plan_hash):
                _supersede(connection, found, run_id)
                found = None
        if found is None:
            try:
                cursor.execute(
                    "INSERT INTO migration_runbook.run (run_id, plan, plan_hash, environment, host, directory)"
                    " VALUES (%s, %s, %s, %s, %s, %s) RETURNING *",
                    (run_id, plan, plan_hash, environment, host, directory),
                )
            except psycopg2.errors.UniqueViolation:
                found = find_open_run(cursor)  # another session opened it between the query and the insert
                if found is None:
                    raise
            else:
                if directory:
                    make_directories(directory)
                return {**rows_as_dicts(cursor)[0], "resumed": False}
        require_same_plan(cursor, found, plan_hash)
    if named and found["run_id"] != run_id:
        raise RunbookError(
            f"run {found['run_id']} has been open since {found['started_at']:%Y-%m-%d %H:%M:%S} UTC, "
            f"so run {run_id} cannot be opened: another run started at the same moment.",
            object_name=found["run_id"],
            next_command=playbook_command("playbooks/status.yml", found),
        )
    return {**found, "resumed": True}


def _supersede(connection: Connection, found: Mapping[str, Any], by: str) -> None:
    """Close an open run that changed nothing, unless a command of it is running."""
    with connection.cursor() as cursor:
        require_idle(cursor, found)
    with exclusive(connection, by), transaction(connection) as cursor:
        abandon(cursor, found["run_id"], "superseded by a run with other files", {"by": by})


def record(
    cursor: Cursor,
    run_id: str,
    phase: str,
    status: str = "ok",
    details: Mapping[str, Any] | None = None,
    *,
    complete_too: bool = False,
) -> bool:
    """Write an event unless the phase's newest event is the same. Return whether it was written.

    :param complete_too: accept a complete run, too.
    :raises RunbookError: there is no such open run.
    """
    (require_not_rolled_back if complete_too else require_open)(cursor, run_id)
    plain = to_plain(dict(details or {}))
    cursor.execute(
        "SELECT status, details FROM migration_runbook.event WHERE run_id = %s AND phase = %s ORDER BY id DESC LIMIT 1",
        (run_id, phase),
    )
    if cursor.fetchone() == (status, plain):
        return False
    cursor.execute(
        "INSERT INTO migration_runbook.event (run_id, phase, status, details) VALUES (%s, %s, %s, %s)",
        (run_id, phase, status, Json(plain)),
    )
    return True


def reopen_run(connection: Connection, run_id: str) -> bool:
    """Reopen a complete run to reverse it. Return whether it was closed.

    :raises RunbookError: no such run, it is rolled back, or another one is open.
    """
    with transaction(connection) as cursor:
        run = find_run(cursor, run_id)
        if run is not None and run["state"] == "open":
            return False
        other = find_open_run(cursor)
        if other is not None:
            raise RunbookError(
                f"run {other['run_id']} is open, so run {run_id} cannot be opened again.",
                object_name=other["run_id"],
                next_command=playbook_command("rollback.yml", other),
            )
        if run is None or run["state"] in OVER:
            require_open(cursor, run_id)
        cursor.execute(
            "UPDATE migration_runbook.run SET state = 'open', finished_at = NULL WHERE run_id = %s", (run_id,)
        )
        return True


def close_run(
    connection: Connection, run_id: str, state: str, *, phase: str = "", details: Mapping[str, Any] | None = None
) -> bool:
    """End a run as complete, complete_with_warnings or rolled_back. Return whether the state is new.

    Only a complete run can change its state again: to rolled_back.

    :param phase: an event to write with it, unless it is empty.

    :raises RunbookError: no such run, or it ended in another state.
    """
    with transaction(connection) as cursor:
        run = find_run(cursor, run_id)
        if run is not None and run["state"] == state:
            return False
        if run is None or state != "rolled_back" or run["state"] in OVER:
            require_open(cursor, run_id)
        if phase:
            record(cursor, run_id, phase, details=details, complete_too=True)
        cursor.execute(
            "UPDATE migration_runbook.run SET state = %s, finished_at = now() WHERE run_id = %s", (state, run_id)
        )
        return True
