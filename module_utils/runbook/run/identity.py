"""Decide which run a command belongs to, the open one or a new one, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..control.control import PHASE as CONTROL
from ..database.connection import Cursor, SessionSettings, read_only_snapshot, rows_as_dicts, session
from ..database.options import require_protection
from ..errors import RunbookError
from ..journal import ledger
from ..journal.changes import ABANDONED
from ..journal.guard import begun_elsewhere, is_superseded
from ..journal.runs import (
    exists,
    find_open_run,
    find_run,
    new_run_id,
    playbook_command,
    require_same_place,
    require_same_plan,
)
from ..plan.loader import load_plan

Run = dict[str, Any]

#: Which run is used if none is named: which states count, and in which order. ``rolled_back`` of pg_run_info
#: chooses one. The open run comes first in each; at most one run is open. An abandoned run counts as rolled back.
NEWEST = {
    "refused": "SELECT * FROM migration_runbook.run WHERE state NOT IN ('rolled_back', 'abandoned')"
    " ORDER BY state = 'open' DESC, started_at DESC LIMIT 1",
    "if_no_other": "SELECT * FROM migration_runbook.run"
    " ORDER BY state = 'open' DESC, state NOT IN ('rolled_back', 'abandoned') DESC, started_at DESC LIMIT 1",
    "if_newest": "SELECT * FROM migration_runbook.run ORDER BY state = 'open' DESC, started_at DESC LIMIT 1",
}


def identify(params: Mapping[str, Any]) -> Run:
    """Return the facts of the run that a command belongs to. See pg_run_info for the options and the result."""
    require_one_environment(params["hosts_environments"])
    if params["confirmation_required"]:
        require_confirmation(params["confirm"], params["host"], params["environment_name"])
    plan = load_plan(params["plan_directory"])
    versions = [migration["version"] for migration in plan["migrations"]]
    with (
        session(
            params["connection"], SessionSettings(application_name="runbook identify", read_only=True)
        ) as connection,
        read_only_snapshot(connection) as cursor,
    ):
        require_protection(connection, params["connection"], params["tls"])
        applied = ledger.read(cursor)
        found = _existing_run(cursor, params) if params["existing"] else find_open_run(cursor)
        reason = begun_elsewhere(found, params["environment_name"], params["host"]) if found else ""
        if found and not params["anywhere"]:
            require_same_place(found, params["environment_name"], params["host"])
        if found and not params["existing"] and not reason:
            if is_superseded(cursor, found, plan["plan_hash"]):
                found = None
            else:
                require_same_plan(cursor, found, plan["plan_hash"])
        events = _phases_done(cursor, found["run_id"]) if found else []
        newest, last = _newest_run(cursor, "refused"), _newest_run(cursor, "if_newest")
        if newest and params["complete_binds"]:
            require_same_place(newest, params["environment_name"], params["host"])
        cursor.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", (plan["helper_schema"],))
        helper_schema_exists = bool((cursor.fetchone() or (False,))[0])
    pending = [version for version in versions if version not in applied]
    base = os.path.join(params["artifacts_directory"], params["environment_name"], params["host"])
    new_id = new_run_id()
    run_id = found["run_id"] if found else new_id
    return {
        "id": run_id,
        "new_id": new_id,
        "directory": (found or {}).get("directory") or os.path.join(base, run_id),
        "standalone_directory": os.path.join(base, new_id),
        "newest_directory": newest["directory"] if newest else "",
        "last_run": {"id": last["run_id"], **{key: last[key] for key in ("state", "directory")}} if last else {},
        "artifacts_directory": params["artifacts_directory"],
        "plan": plan,
        "plan_hash": found["plan_hash"] if found and params["existing"] else plan["plan_hash"],
        "environment": params["environment_name"],
        "host": params["host"],
        "hosts": list(params["hosts"]),
        "resumed": found is not None and found["state"] == "open",
        "state": found["state"] if found else "new",
        "phases_done": events,
        "applied": [version for version in versions if version in applied],
        "pending": pending,
        "to_apply": up_to(pending, versions, params["stop_after"]),
        "stop_after": params["stop_after"],
        "begun_elsewhere": reason,
        "helper_schema_exists": helper_schema_exists,
    }


def up_to(pending: Sequence[str], versions: Sequence[str], stop_after: str) -> list[str]:
    """Return the pending versions up to and including ``stop_after``; all of them if it is empty.

    :raises RunbookError: the plan has no such version.
    """
    if not stop_after:
        return list(pending)
    if stop_after not in versions:
        raise RunbookError(
            f"stop_after={stop_after} is not a version of the plan; it has {', '.join(versions)}.",
            object_name=stop_after,
            next_command=f"the same command with -e stop_after={versions[0]}",
        )
    return [version for version in pending if versions.index(version) <= versions.index(stop_after)]


def require_confirmation(confirm: str, host: str, environment_name: str) -> None:
    """Refuse unless ``confirm`` (comma-separated) names the inventory host.

    The database's name is not sufficient: on Supabase every database is called postgres.
    """
    if host not in [name.strip() for name in confirm.split(",")]:
        given = f"confirm={confirm} does not name it" if confirm else "confirm was not given"
        raise RunbookError(
            f"{environment_name} is only changed with a confirmation: {given}.",
            object_name=host,
            next_command=f"the same command with -e confirm={host}",
        )


def require_one_environment(names: Sequence[str]) -> None:
    """Refuse a play on hosts of several environments at once."""
    if len(set(names)) > 1:
        raise RunbookError(
            f"This command would work on {' and '.join(sorted(set(names)))} at once.",
            object_name=", ".join(sorted(set(names))),
            next_command="ansible-playbook promote.yml with both inventories, or one -i at a time",
        )


def _existing_run(cursor: Cursor, params: Mapping[str, Any]) -> Run:
    """Return the named run, or the newest one that counts."""
    run_id = params["run_id"]
    found = find_run(cursor, run_id) if run_id else _newest_run(cursor, params["rolled_back"])
    if found is not None:
        return found
    last = _newest_run(cursor, "if_newest")
    row = {"environment": params["environment_name"], "host": params["host"]}
    if last is None:
        raise RunbookError(
            f"The journal of {_database_to_text(params)} has no run, so there is nothing to work on.",
            object_name=str(params["connection"]["dbname"]),
            next_command=playbook_command("playbooks/status.yml", row),
        )
    if not run_id and last["state"] == ABANDONED:
        raise RunbookError(
            f"The newest run of {_database_to_text(params)}, {last['run_id']}, was closed without having changed "
            "anything, so there is nothing to resume and nothing to roll back.",
            object_name=last["run_id"],
            next_command=playbook_command("migrate.yml", row),
        )
    # Name the newest run: it may have just been rolled back.
    ended = f": the newest, {last['run_id']}, is {str(last['state']).replace('_', ' ')}"
    named = f"no run {run_id}" if run_id else f"no run that is open or complete{ended}"
    raise RunbookError(
        f"The journal of {_database_to_text(params)} has {named}.",
        object_name=run_id or last["run_id"],
        next_command=playbook_command("playbooks/status.yml", row),
    )


def _database_to_text(params: Mapping[str, Any]) -> str:
    """Name the database. On Supabase each is called postgres, so the inventory's name distinguishes them."""
    return f"database {params['connection']['dbname']} on {params['connection']['host']} ({params['host']})"


def _newest_run(cursor: Cursor, rolled_back: str) -> Run | None:
    if not exists(cursor):
        return None
    cursor.execute(NEWEST[rolled_back])
    rows = rows_as_dicts(cursor)
    return rows[0] if rows else None


def _phases_done(cursor: Cursor, run_id: str) -> list[str]:
    # An applied command of an operator is an event, but not a phase.
    cursor.execute(
        "SELECT phase FROM (SELECT DISTINCT ON (phase) phase, status FROM migration_runbook.event"
        " WHERE run_id = %s AND phase <> %s ORDER BY phase, id DESC) AS newest WHERE status = 'ok' ORDER BY phase",
        (run_id, CONTROL),
    )
    return [phase for (phase,) in cursor.fetchall()]
