"""The journal's runs and events: one run has one id from its first write until it is complete."""

from __future__ import annotations

import datetime
import os
import secrets
from collections.abc import Mapping
from typing import Any

import psycopg2
from psycopg2.extras import Json

from .connection import Connection, Cursor, rows_as_dicts, transaction
from .errors import RunbookError
from .journal_schema import SCHEMA, ensure, exists
from .plain import to_plain

__all__ = [
    "SCHEMA",
    "close_run",
    "ensure",
    "exists",
    "find_open_run",
    "find_run",
    "new_run_id",
    "open_run",
    "record",
    "require_run_ready",
]

#: What a run must have done, with status ``ok``, before a migration may change anything.
REQUIRED_PHASES = ("environment_verified", "backup_verified", "snapshot_taken")


def new_run_id() -> str:
    """Return an id like ``20250122T101500Z-3f9a1c``: sorts by time, fit for a directory's name."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def find_open_run(cursor: Cursor) -> dict[str, Any] | None:
    """Return the row of the open run, or None. Works without a journal."""
    if not exists(cursor):
        return None
    cursor.execute("SELECT * FROM migration_runbook.run WHERE state = 'open'")
    rows = rows_as_dicts(cursor)
    return rows[0] if rows else None


def find_run(cursor: Cursor, run_id: str) -> dict[str, Any] | None:
    """Return a run's row, or None. Works without a journal."""
    if not exists(cursor):
        return None
    cursor.execute("SELECT * FROM migration_runbook.run WHERE run_id = %s", (run_id,))
    rows = rows_as_dicts(cursor)
    return rows[0] if rows else None


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
    """Return the open run of this plan, opened now where there is none.

    :param run_id: the id of a run opened now; one is made where it is empty.
    :param directory: of the run; made with mode 0700.
    :returns: the run's row and ``resumed``: whether it was open before.
    :raises RunbookError: a run is open with another plan hash or another id.
    """
    ensure(connection)
    with connection.cursor() as cursor:
        found = find_open_run(cursor)
        if found is None:
            try:
                cursor.execute(
                    "INSERT INTO migration_runbook.run (run_id, plan, plan_hash, environment, host, directory)"
                    " VALUES (%s, %s, %s, %s, %s, %s) RETURNING *",
                    (run_id or new_run_id(), plan, plan_hash, environment, host, directory),
                )
            except psycopg2.errors.UniqueViolation:
                found = find_open_run(cursor)  # opened by someone else between the look and the insert
                if found is None:
                    raise
            else:
                if directory:
                    os.makedirs(directory, mode=0o700, exist_ok=True)
                return {**rows_as_dicts(cursor)[0], "resumed": False}
    require_same_plan(found, plan_hash)
    if run_id and found["run_id"] != run_id:
        raise RunbookError(
            f"run {found['run_id']} is open since {found['started_at']:%Y-%m-%d %H:%M:%S} UTC, "
            f"so run {run_id} cannot be opened: another one was started at the same moment.",
            object_name=found["run_id"],
            next_command=_command("playbooks/status.yml", found),
        )
    return {**found, "resumed": True}


def require_same_plan(run: Mapping[str, Any], plan_hash: str) -> None:
    """Refuse to go on with a run whose plan's files have changed since it was opened.

    :raises RunbookError: the hashes differ.
    """
    if run["plan_hash"] == plan_hash:
        return
    raise RunbookError(
        f"run {run['run_id']} of plan {run['plan']} is open since {run['started_at']:%Y-%m-%d %H:%M} UTC with plan "
        f"hash {run['plan_hash'][:12]}, but the files now have {plan_hash[:12]}: a run cannot change its files "
        "half-way. Put the plan's files back as they were and run again to finish it, or roll it back first.",
        object_name=run["run_id"],
        next_command=_command("rollback.yml", run),
    )


def record(
    cursor: Cursor, run_id: str, phase: str, status: str = "ok", details: Mapping[str, Any] | None = None
) -> bool:
    """Write an event, unless the phase's newest event says the same. Returns whether it was written.

    :raises RunbookError: there is no such open run.
    """
    _require_open(cursor, run_id)
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


def close_run(connection: Connection, run_id: str, state: str) -> bool:
    """End an open run as complete, complete_with_warnings or rolled_back. Returns whether it was open.

    :raises RunbookError: no such run, or it ended in another state.
    """
    with transaction(connection) as cursor:
        run = find_run(cursor, run_id)
        if run is not None and run["state"] == state:
            return False
        _require_open(cursor, run_id)
        cursor.execute(
            "UPDATE migration_runbook.run SET state = %s, finished_at = now() WHERE run_id = %s AND state = 'open'",
            (state, run_id),
        )
        return True


def require_run_ready(cursor: Cursor, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The guard: refuse to change anything unless this run did what must come first.

    Asks the journal, not the order of tasks: an open run of this id and plan hash whose newest event of
    each of REQUIRED_PHASES has status ok.

    :param run: ``id`` and ``plan_hash`` as the run's first task got them.
    :returns: each required phase with its event's details.
    :raises RunbookError: what is missing, and the command that does it.
    """
    row = _require_open(cursor, run["id"])
    require_same_plan(row, run["plan_hash"])
    cursor.execute(
        "SELECT DISTINCT ON (phase) phase, status, details FROM migration_runbook.event"
        " WHERE run_id = %s AND phase = ANY(%s) ORDER BY phase, id DESC",
        (run["id"], list(REQUIRED_PHASES)),
    )
    done = {phase: details for phase, status, details in cursor.fetchall() if status == "ok"}
    missing = [phase for phase in REQUIRED_PHASES if phase not in done]
    if missing:
        raise RunbookError(
            f"run {run['id']} has not: {', '.join(missing).replace('_', ' ')}. "
            "Nothing is migrated before its journal holds all of "
            f"{', '.join(REQUIRED_PHASES)} with status ok; run the whole playbook, without skipping a part of it.",
            object_name=run["id"],
            next_command=_command("migrate.yml", row),
            facts={"missing_phases": missing},
        )
    return done


def _require_open(cursor: Cursor, run_id: str) -> dict[str, Any]:
    row = find_run(cursor, run_id)
    if row is None or row["state"] != "open":
        state = "unknown to this database's journal" if row is None else row["state"].replace("_", " ")
        raise RunbookError(
            f"run {run_id} is not open: it is {state}.",
            object_name=run_id,
            next_command=_command("migrate.yml", row or {}),
        )
    return row


def _command(playbook: str, run: Mapping[str, Any]) -> str:
    """What to type; the run's row names inventory and host as the operator did."""
    environment, host = run.get("environment") or "<environment>", run.get("host") or "<inventory host>"
    return f"ansible-playbook {playbook} -i inventories/{environment} -e confirm={host}"
