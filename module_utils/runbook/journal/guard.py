"""Guards: what the journal must hold before anything is changed. They ask for state, not for the order of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from ..session.connection import Cursor, rows_as_dicts
from .schema import exists

#: What a run must have done, with status ``ok``, before a migration may change anything.
REQUIRED_PHASES = ("environment_verified", "backup_verified", "snapshot_taken")

#: The restore drill of the backup, where one is wanted.
DRILLED = "backup_drilled"


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
        next_command=playbook_command("rollback.yml", run),
    )


def require_run_ready(cursor: Cursor, run: Mapping[str, Any], *, drilled: bool = False) -> dict[str, dict[str, Any]]:
    """The guard: refuse to change anything unless this run did what must come first.

    Asks the journal, not the order of tasks: an open run of this id and plan hash whose newest event of
    each of REQUIRED_PHASES has status ok.

    :param run: ``id`` and ``plan_hash`` as the run's first task got them.
    :param drilled: also ask for a passed restore drill of the backup.
    :returns: each required phase with its event's details.
    :raises RunbookError: what is missing, and the command that does it.
    """
    row = require_open(cursor, run["id"])
    require_same_plan(row, run["plan_hash"])
    required = (*REQUIRED_PHASES, *([DRILLED] if drilled else []))
    cursor.execute(
        "SELECT DISTINCT ON (phase) phase, status, details FROM migration_runbook.event"
        " WHERE run_id = %s AND phase = ANY(%s) ORDER BY phase, id DESC",
        (run["id"], list(required)),
    )
    done = {phase: details for phase, status, details in cursor.fetchall() if status == "ok"}
    missing = [phase for phase in required if phase not in done]
    if missing:
        raise RunbookError(
            f"run {run['id']} has not: {', '.join(missing).replace('_', ' ')}. "
            "Nothing is migrated before its journal holds all of "
            f"{', '.join(required)} with status ok; run the whole playbook, without skipping a part of it.",
            object_name=run["id"],
            next_command=playbook_command("migrate.yml", row),
            facts={"missing_phases": missing},
        )
    return done


def require_open(cursor: Cursor, run_id: str) -> dict[str, Any]:
    """Return the row of a run that must be open.

    :raises RunbookError: it is unknown, or has ended.
    """
    row = find_run(cursor, run_id)
    if row is None or row["state"] != "open":
        state = "unknown to this database's journal" if row is None else row["state"].replace("_", " ")
        raise RunbookError(
            f"run {run_id} is not open: it is {state}.",
            object_name=run_id,
            next_command=playbook_command("migrate.yml", row or {}),
        )
    return row


def require_not_rolled_back(cursor: Cursor, run_id: str) -> None:
    """Ask for a run that can be rolled back: open or complete.

    :raises RunbookError: it is unknown, or rolled back already.
    """
    row = find_run(cursor, run_id)
    if row is None or row["state"] == "rolled_back":
        require_open(cursor, run_id)


def playbook_command(playbook: str, run: Mapping[str, Any]) -> str:
    """What to type; the run's row names inventory and host as the operator did."""
    environment, host = run.get("environment") or "<environment>", run.get("host") or "<inventory host>"
    if environment == "local":
        return f"ansible-playbook {playbook}"
    return f"ansible-playbook {playbook} -i inventories/{environment} -e confirm={host}"
