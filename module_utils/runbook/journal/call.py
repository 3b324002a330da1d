"""One call of pg_journal: make the change, or in check mode report it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..database.connection import Connection, SessionSettings, session
from ..errors import RunbookError
from . import runs as journal
from .guard import is_superseded
from .unconfirmed import note_confirmed, noted

Result = dict[str, Any]

#: Options that each state requires: the path of the option, and what to give.
REQUIRED = {
    "run_opened": ("plan_name", "run.plan_hash"),
    "run_reopened": ("run.id",),
    "recorded": ("run.id", "phase"),
    "run_closed": ("run.id",),
}


def write_journal(params: Mapping[str, Any], *, check_mode: bool) -> Result:
    """Open a run, record an event or close a run. See pg_journal for options and result.

    :raises RunbookError: an option is missing, or the journal refuses.
    """
    _require_options(params)
    settings = SessionSettings(application_name="runbook journal", read_only=check_mode)
    run_id, about = (params["run"] or {}).get("id") or "", f"the journal's {params['state'].replace('_', ' ')}"
    with noted(params["connection"], run_id, about), session(params["connection"], settings) as connection:
        acts = {"run_opened": _open, "run_reopened": _reopen, "recorded": _record, "run_closed": _close}
        act = acts[params["state"]]
        return act(connection, params, check_mode)


def _open(connection: Connection, params: Mapping[str, Any], check_mode: bool) -> Result:
    run = params["run"]
    if check_mode:
        with connection.cursor() as cursor:
            found = journal.find_open_run(cursor)
            if found:
                journal.require_same_place(found, run["environment"], run["host"])
            if found and is_superseded(cursor, found, run["plan_hash"]):
                found = None
            if found:
                journal.require_same_plan(cursor, found, run["plan_hash"])
        if found:
            return _result(found, changed=False, resumed=True, verb="is open")
        would_be = {"run_id": run["id"] or journal.new_run_id(), "plan": params["plan_name"], "state": "open"}
        would_be |= {"plan_hash": run["plan_hash"], "environment": run["environment"], "host": run["host"]}
        return _result(would_be, changed=True, resumed=False, verb="would be opened")
    opened = journal.open_run(
        connection,
        plan=params["plan_name"],
        plan_hash=run["plan_hash"],
        environment=run["environment"],
        host=run["host"],
        run_id=run["id"],
        directory=run["directory"] or "",
    )
    verb = "goes on" if opened["resumed"] else "is open"
    written = False
    if params["phase"]:
        with connection.cursor() as cursor:
            written = journal.record(cursor, opened["run_id"], params["phase"], params["status"], params["details"])
    if opened["resumed"]:
        with connection.cursor() as cursor:
            written = note_confirmed(cursor, opened["run_id"]) or written
    return _result(opened, changed=written or not opened["resumed"], resumed=opened["resumed"], verb=verb)


def _reopen(connection: Connection, params: Mapping[str, Any], check_mode: bool) -> Result:
    run_id = params["run"]["id"]
    if check_mode:
        row = _row(connection, run_id)
        return _result(row, changed=row["state"] != "open", resumed=False, verb="would be open again")
    opened = journal.reopen_run(connection, run_id)
    return _result(_row(connection, run_id), changed=opened, resumed=not opened, verb="is open, to be reversed")


def _record(connection: Connection, params: Mapping[str, Any], check_mode: bool) -> Result:
    run_id, phase, status = params["run"]["id"], params["phase"], params["status"]
    verb = f"has {phase.replace('_', ' ')}: {status}"
    with connection.cursor() as cursor:
        if check_mode:
            # In check mode no run was opened, so there may be none.
            return _result(_row(connection, run_id), changed=True, resumed=False, verb=f"would be noted: {verb}")
        written = journal.record(cursor, run_id, phase, status, params["details"])
    return _result(_row(connection, run_id), changed=written, resumed=True, verb=verb)


def _close(connection: Connection, params: Mapping[str, Any], check_mode: bool) -> Result:
    run_id, state = params["run"]["id"], params["run_state"]
    if check_mode:
        row = _row(connection, run_id)
        return _result(row, changed=row["state"] == "open", resumed=False, verb=f"would be {state}")
    closed = journal.close_run(connection, run_id, state, phase=params["phase"], details=params["details"])
    return _result(_row(connection, run_id), changed=closed, resumed=True, verb=f"is {state.replace('_', ' ')}")


def _row(connection: Connection, run_id: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        return journal.find_run(cursor, run_id) or {"run_id": run_id, "state": "open"}


def _result(row: Mapping[str, Any], *, changed: bool, resumed: bool, verb: str) -> Result:
    facts = {name: row.get(name, "") for name in ("plan", "plan_hash", "environment", "host", "state", "directory")}
    times = {name: row.get(name) for name in ("started_at", "finished_at")}
    run = {"id": row["run_id"], **facts, **times}
    return {"changed": changed, "msg": f"run {row['run_id']} {verb}", "resumed": resumed, "run": run}


def _require_options(params: Mapping[str, Any]) -> None:
    missing = []
    for path in REQUIRED[params["state"]]:
        value: Any = params
        for part in path.split("."):
            value = value[part]
        if not value:
            missing.append(path)
    if missing:
        raise RunbookError(
            f"state {params['state']} needs {' and '.join(missing)}.",
            object_name=missing[0],
            next_command="ansible-doc -t module pg_journal",
        )
