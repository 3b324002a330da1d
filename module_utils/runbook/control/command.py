"""One call of pg_control: validate an operator's command to the open run, then write it."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import psycopg2

from ..database.connection import Connection, Cursor, SessionSettings, read_only_snapshot, session, transaction
from ..errors import RunbookError
from ..journal import schema
from ..journal.guard import find_open_run, playbook_command
from ..journal.unconfirmed import noted
from ..plain import to_plain
from . import control
from .control import Control, summary
from .levels import merged_levels

Result = dict[str, Any]

COMMANDS = ("pause", "resume", "abort", "set")
#: What may be set, and its range; 0 restores the run's own value.
BOUNDS = {"batch_rows": (1, 100_000), "batch_budget_milliseconds": (1, 60_000), "workers": (1, 32)}
LEVELS = ("slow_at", "pause_at", "abort_at")
POLL_SECONDS = 0.05
#: Another operator holds the same row only for a moment.
LOCK_TIMEOUT_SECONDS = 2.0


def give_command(params: Mapping[str, Any], *, check_mode: bool) -> Result:
    """Change what is in force for the open run. See pg_control for options and result.

    :raises RunbookError: no run is open, or the command is not valid.
    """
    command = params["control"]
    require_command(command, params)
    settings = SessionSettings("runbook control", lock_timeout_seconds=LOCK_TIMEOUT_SECONDS, read_only=check_mode)
    with noted(params["connection"], "", "the control row"), session(params["connection"], settings) as connection:
        with connection.cursor() as cursor:
            run = require_run(cursor, command, params["run_id"])
        if check_mode:
            before, after = _would_be(connection, run["run_id"], params)
        else:
            before, after = _say(connection, run["run_id"], params)
        changed = after != before
        result = _result(run, before, after, changed)
        with connection.cursor() as cursor:
            result["working"] = control.at_work(cursor)
            if changed and not check_mode:
                result |= _wait(cursor, run["run_id"], after.revision, params["wait_seconds"], result["working"])
    result["summary"] = summary(result, command, check_mode=check_mode, wait_seconds=params["wait_seconds"])
    result["msg"] = result["summary"][0]
    return result


def require_command(command: str, params: Mapping[str, Any]) -> None:
    """Refuse an unknown command, values that it does not take, and a set without values."""
    given = [name for name in (*BOUNDS, "postpone_contract", *LEVELS) if params[name] not in (None, {})]
    if command not in COMMANDS:
        raise _refusal(
            f"control={command or '(nothing)'} is not a command; choose one of {', '.join(COMMANDS)}", command
        )
    if command != "set" and given:
        raise _refusal(f"{', '.join(given)}: only control=set changes values, not control={command}", given[0])
    if command == "set" and not given:
        raise _refusal(
            f"nothing to set: give at least one of {', '.join((*BOUNDS, 'postpone_contract', *LEVELS))}", "set"
        )
    for name, (least, most) in BOUNDS.items():
        value = params[name]
        if value is not None and value != 0 and not least <= value <= most:
            raise _refusal(
                f"{name}={value:g} is out of range: {least} to {most}, or 0 for what the run was started with", name
            )


def require_run(cursor: Cursor, command: str, run_id: str) -> dict[str, Any]:
    """Return the open run; an abort must name it.

    :raises RunbookError: none is open, or another one was named.
    """
    run = find_open_run(cursor)
    if run is None:
        raise RunbookError(
            "no run is open in this database.",
            object_name="run",
            next_command="ansible-playbook playbooks/status.yml",
        )
    command_line = playbook_command("playbooks/control.yml", run)
    if command == "abort" and not run_id:
        raise RunbookError(
            f"an abort must name its run; the open run is {run['run_id']}.",
            object_name=run["run_id"],
            next_command=f"{command_line} -e control=abort -e run_id={run['run_id']}",
        )
    if run_id and run_id != run["run_id"]:
        raise RunbookError(
            f"run {run_id} is not open; the open run is {run['run_id']}.",
            object_name=run_id,
            next_command=f"{command_line} -e control={command} -e run_id={run['run_id']}",
        )
    return run


def decide(before: Control, params: Mapping[str, Any]) -> Control:
    """Return what is in force after a command."""
    command = params["control"]
    if command != "set":
        return dataclasses.replace(before, command="run" if command == "resume" else command)
    values: dict[str, Any] = {name: params[name] or None for name in BOUNDS if params[name] is not None}
    if params["postpone_contract"] is not None:
        values["postpone_contract"] = params["postpone_contract"]
    levels = merged_levels(before.levels, {name.removesuffix("_at"): params[name] or {} for name in LEVELS})
    return dataclasses.replace(before, **values, levels=levels)


def _would_be(connection: Connection, run_id: str, params: Mapping[str, Any]) -> tuple[Control, Control]:
    with read_only_snapshot(connection) as cursor:
        before = control.in_force(cursor, run_id) if schema.has_engine_tables(cursor) else Control()
    return before, decide(before, params)


def _say(connection: Connection, run_id: str, params: Mapping[str, Any]) -> tuple[Control, Control]:
    schema.ensure(connection)
    try:
        with transaction(connection) as cursor:
            before = control.lock(cursor, run_id)
            after = decide(before, params)
            if after != before:
                who = f"{_user()}@{socket.gethostname()}"
                after = control.write(cursor, run_id, after, who)
    except psycopg2.errors.LockNotAvailable as error:
        raise RunbookError(
            f"another session has held the control row of run {run_id} for more than {LOCK_TIMEOUT_SECONDS:g} s.",
            object_name="migration_runbook.control",
            next_command="the same command again",
        ) from error
    return before, after


def _wait(cursor: Cursor, run_id: str, revision: int, wait_seconds: float, working: bool) -> Result:
    deadline = time.monotonic() + (wait_seconds if working else 0)
    while (seconds := control.acknowledged_seconds(cursor, run_id, revision)) is None:
        # A run that has just ended may have applied the command last, so check once more.
        if time.monotonic() >= deadline or not (working := control.at_work(cursor)):
            seconds = control.acknowledged_seconds(cursor, run_id, revision)
            break
        time.sleep(POLL_SECONDS)
    return {"working": working, "acknowledged": seconds is not None, "acknowledged_seconds": seconds}


def _result(run: Mapping[str, Any], before: Control, after: Control, changed: bool) -> Result:
    texts = [
        json.dumps(to_plain(dataclasses.asdict(values)), indent=2, sort_keys=True) + "\n" for values in (before, after)
    ]
    header = f"control of run {run['run_id']}"
    return {
        "changed": changed,
        "run_id": run["run_id"],
        "before": dataclasses.asdict(before),
        "control": dataclasses.asdict(after),
        "revision": after.revision,
        "acknowledged": False,
        "acknowledged_seconds": None,
        "diff": {"before": texts[0], "after": texts[1], "before_header": header, "after_header": header},
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _refusal(what: str, object_name: str) -> RunbookError:
    return RunbookError(
        f"{what}.", object_name=object_name, next_command="ansible-playbook playbooks/control.yml -e control=pause"
    )
