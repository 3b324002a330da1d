"""Guards: what the journal must contain before anything is changed. They check state, not the order of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..database.connection import Cursor, rows_as_dicts
from ..errors import RunbookError
from .changes import OVER, has_changed
from .schema import exists

#: What a run must have done, with status ``ok``, before a migration may change anything.
REQUIRED_PHASES = ("environment_verified", "backup_verified", "snapshot_taken")

#: The restore drill of the backup, if one is wanted.
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


def is_superseded(cursor: Cursor, run: Mapping[str, Any], plan_hash: str) -> bool:
    """Return whether a run with these files replaces the open one, which has other files and has changed nothing."""
    return run["plan_hash"] != plan_hash and not has_changed(cursor, run["run_id"])


def require_same_plan(cursor: Cursor, run: Mapping[str, Any], plan_hash: str) -> None:
    """Refuse to continue a run whose plan's files have changed since it was opened.

    :raises RunbookError: the hashes differ.
    """
    if run["plan_hash"] == plan_hash:
        return
    other = (
        f"run {run['run_id']} of plan {run['plan']} has been open since {run['started_at']:%Y-%m-%d %H:%M} UTC with "
        f"plan hash {run['plan_hash'][:12]}, but the files now have {plan_hash[:12]}"
    )
    if is_superseded(cursor, run, plan_hash):
        raise RunbookError(
            f"{other}. The run has changed no table of the plan; migrate.yml closes it and opens a new one.",
            object_name=run["run_id"],
            next_command=playbook_command("migrate.yml", run),
        )
    raise RunbookError(
        f"{other}: a run that has changed tables keeps its files. "
        "Restore the plan's files and run again to finish it, or roll it back first.",
        object_name=run["run_id"],
        next_command=playbook_command("rollback.yml", run),
    )


def begun_elsewhere(run: Mapping[str, Any], environment: str, host: str) -> str:
    """Return a sentence if another environment or inventory host started the run; empty if it is the same or unknown.

    A physical copy of a server has the same system identifier, so the pins alone do not distinguish them.
    """
    began, now = (run["environment"], run["host"]), (environment, host)
    if all(not one or not other or one == other for one, other in zip(began, now, strict=True)):
        return ""
    return (
        f"run {run['run_id']} was started by host {run['host']} of environment {run['environment']}, "
        f"and this is host {host} of environment {environment}: only the inventory that started a run may "
        "resume it, roll it back or clean up after it. After a failover the host keeps its name and environment in the "
        "inventory; only database_connection changes (docs/runbook.md, After a failover)"
    )


def require_same_place(run: Mapping[str, Any], environment: str, host: str) -> None:
    """Refuse a run that another environment or inventory host began.

    :raises RunbookError: with both, and the right inventory.
    """
    why_not = begun_elsewhere(run, environment, host)
    if why_not:
        confirm = "" if run["environment"] == "local" else f" -e confirm={run['host']}"
        raise RunbookError(
            f"{why_not}.",
            object_name=run["run_id"],
            next_command=f"the same command with -i inventories/{run['environment']}{confirm}",
        )


def require_run_ready(
    cursor: Cursor, run: Mapping[str, Any], *, drilled: bool | None = None
) -> dict[str, dict[str, Any]]:
    """Refuse to change anything unless this run has completed what must come first.

    It checks the journal, not the order of tasks: an open run of this id and plan hash whose newest event of
    each of REQUIRED_PHASES has status ok.

    Whether a restore drill of the backup must have passed is in the run's newest ``environment_verified`` event.

    :param run: ``id`` and ``plan_hash`` as the run's first task received them; ``environment`` and ``host`` if known.
    :param drilled: require the restore drill even if the event does not; False requires none, as for a reverse.
    :returns: each required phase with its event's details.
    :raises RunbookError: with what is missing, and the command for it.
    """
    row = require_open(cursor, run["id"])
    require_same_place(row, run.get("environment") or "", run.get("host") or "")
    require_same_plan(cursor, row, run["plan_hash"])
    cursor.execute(
        "SELECT DISTINCT ON (phase) phase, status, details FROM migration_runbook.event"
        " WHERE run_id = %s AND phase = ANY(%s) ORDER BY phase, id DESC",
        (run["id"], [*REQUIRED_PHASES, DRILLED]),
    )
    done = {phase: details for phase, status, details in cursor.fetchall() if status == "ok"}
    if drilled is None:
        drilled = bool(done.get("environment_verified", {}).get("restore_drill_required"))
    required = (*REQUIRED_PHASES, *([DRILLED] if drilled else []))
    missing = [phase for phase in required if phase not in done]
    if missing:
        raise RunbookError(
            f"run {run['id']} has not completed: {', '.join(missing)}. "
            "A migration starts only when the run's journal contains all of "
            f"{', '.join(required)} with status ok; run the whole playbook without skipping any part of it.",
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
    """Require a run that can be rolled back: open or complete.

    :raises RunbookError: it is unknown, rolled back already, or closed without having changed anything.
    """
    row = find_run(cursor, run_id)
    if row is None or row["state"] in OVER:
        require_open(cursor, run_id)


def playbook_command(playbook: str, run: Mapping[str, Any]) -> str:
    """Return the command to run, with the inventory and host of the run's row."""
    environment, host = run.get("environment") or "<environment>", run.get("host") or "<inventory host>"
    if environment == "local":
        return f"ansible-playbook {playbook}"
    return f"ansible-playbook {playbook} -i inventories/{environment} -e confirm={host}"
