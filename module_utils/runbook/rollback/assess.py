"""Assess a rollback: the state of the run, what has been written since, and the possible methods. Read-only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import chain
from typing import Any

from ..backup import manifest as manifests
from ..database.connection import Cursor, SessionSettings, read_only_snapshot, session
from ..database.queries import value
from ..errors import RunbookError
from ..evidence import snapshot as snapshots
from ..journal import lease, ledger
from ..journal import steps as journal_steps
from ..journal.changes import OVER, has_changed
from ..journal.migration_state import State
from ..journal.runs import exists, find_run, playbook_command
from ..journal.steps import CLOSING_KIND
from ..plan.loader import plan_hash
from ..restore import swap_checks
from ..restore.drill import DRILL_FILE
from . import methods
from .losses import archived_by_reverse, written_since
from .rows_of_others import rows_of_others
from .writers import log_incomplete, writes_of_new_application

Facts = dict[str, Any]


def restored(cursor: Cursor, run_id: str) -> bool:
    """Return whether the run's backup has been restored and no migration step has started since.

    The restore records the event in its own transaction. A second restore would remove what was written since the
    first.
    """
    restored_last = (
        "SELECT EXISTS (SELECT FROM migration_runbook.event AS e WHERE e.run_id = %s AND e.phase = 'restored'"
        " AND NOT EXISTS (SELECT FROM migration_runbook.step AS s WHERE s.started_at > e.at))"
    )
    return exists(cursor) and bool(value(cursor, restored_last, (run_id,)))


def _reversed_by(state: State, run_id: str) -> bool:
    """Return whether this run has completely reversed a migration."""
    return any(
        row["direction"] == "reverted" and row["kind"] == CLOSING_KIND and row["run_id"] == run_id
        for row in state.steps
    )


def assess(params: Mapping[str, Any]) -> Facts:
    """Return the facts of pg_rollback_info.

    :raises RunbookError: the requested method is not possible now.
    """
    plan, run = params["plan"], params["run"]
    settings = SessionSettings(application_name="runbook rollback_info", read_only=True)
    with session(params["connection"], settings) as connection, read_only_snapshot(connection) as cursor:
        facts = _read(cursor, params)
    facts["methods"] = methods.judge(facts, params)
    # The operator can remove these obstacles to a reverse; a restore would lose what the application wrote.
    removable = bool(facts["new_application_writes"] or facts["rows_of_others"]) or methods.waits_for_confirmation(
        facts, params
    )
    facts["recommended"] = next((m["name"] for m in facts["methods"] if m["possible"] or removable), "")
    facts["next_command"] = _next_command(facts, params)
    facts["lines"] = methods.lines(facts, plan, run)
    facts["msg"] = facts["lines"][-1]
    _require(facts, params)
    return facts


def _next_command(facts: Facts, params: Mapping[str, Any]) -> str:
    run = params["run"]
    if facts["run_state"] in OVER or not (facts["changed"] or facts["to_revert"]):
        return playbook_command("migrate.yml", run)
    if not facts["recommended"]:
        return str(next(method["next_command"] for method in facts["methods"] if not method["possible"]))
    command = f"{playbook_command('rollback.yml', run)} -e method={facts['recommended']}"
    if facts["rows_of_others"]:
        return f"delete the rows of other tables shown above or change what they reference, then: {command}"
    if facts["recommended"] != "reverse":
        return command
    if methods.waits_for_confirmation(facts, params):
        return f"stop the new application, then: {command} {methods.STOPPED}"
    # Repeat the operator's confirmation: without it the command would be refused.
    return f"{command} {methods.STOPPED}" if params["application_stopped"] else command


def _read(cursor: Cursor, params: Mapping[str, Any]) -> Facts:
    plan, run = params["plan"], params["run"]
    if params["method"] == "restore" and exists(cursor):
        # The module of a killed play keeps running: the application must not start during its restore.
        lease.require_free(cursor)
    state = State(ledger.read(cursor), journal_steps.current_steps(cursor))
    versions = [migration["version"] for migration in plan["migrations"]]
    applied = [version for version in versions if version in state.ledger]
    changed = has_changed(cursor, run["id"])
    half_applied = [version for version in versions if state.half_done(version, "applied")]
    half_reverted = [version for version in versions if state.half_done(version, "reverted")]
    # The half-applied steps of a run that changed nothing are in the helper schema only.
    begun = {*state.ledger, *half_reverted, *(half_applied if changed else [])}.intersection(versions)
    to_revert = [version for version in reversed(versions) if version in begun and version > params["rollback_to"]]
    rules = plan["rollback"]
    directory = os.path.join(run["directory"], "snapshot")
    has_snapshot = os.path.isfile(os.path.join(directory, snapshots.SNAPSHOT_FILE))
    server = snapshots.load(directory)["server"] if has_snapshot else {}
    incomplete = log_incomplete(cursor, [entry["table"] for entry in plan["protected_tables"]])
    # Only in an assessment, because it reads the largest tables.
    archives = rules["archived_by_reverse"] and versions[-1] in to_revert and not params["method"]
    queries = [] if incomplete else rules["new_application_writes"]
    return {
        "versions": versions,
        "applied": applied,
        "to_revert": to_revert,
        "half_reverted": half_reverted,
        "run_state": (find_run(cursor, run["id"]) or run)["state"],
        "changed": changed,
        "restored": not begun and restored(cursor, run["id"]),
        "reversed": not begun and _reversed_by(state, run["id"]),
        "log_incomplete": incomplete,
        "new_application_writes": writes_of_new_application(cursor, queries, to_revert, params["quiet_seconds"]),
        "rows_of_others": rows_of_others(cursor, rules, to_revert, half_done=bool(half_applied or half_reverted)),
        "written": written_since(cursor, server, incomplete),
        "archived_by_reverse": archived_by_reverse(cursor, rules["archived_by_reverse"]) if archives else [],
        "forward_seconds": _forward_seconds(cursor, list(begun)),
        "restore_seconds": _drill_seconds(run["directory"]),
        "swap_refused": _swap_refused(cursor, params, os.path.join(run["directory"], "backup")),
        "backup_is_there": os.path.isfile(os.path.join(run["directory"], "backup", "manifest.json")),
        "same_plan": run["plan_hash"] == plan_hash(plan["directory"]),
    }


def _swap_refused(cursor: Cursor, params: Mapping[str, Any], backup: str) -> tuple[str, str] | None:
    """Return why the backup cannot replace the database, with a remedy; None if reads find no reason."""
    if not os.path.isfile(os.path.join(backup, manifests.MANIFEST_FILE)):
        return None
    options = {
        "maintenance_database": swap_checks.maintenance_of(params["connection"]["dbname"]),
        "leave_replication_behind": False,
    }
    found = chain(swap_checks.of_backup(manifests.read(backup), backup), swap_checks.of_database(cursor, options))
    return next(found, None)


def _forward_seconds(cursor: Cursor, versions: list[str]) -> float | None:
    """Return how long the steps of these migrations took; None if the journal has none."""
    seconds: float | None = value(
        cursor,
        "SELECT extract(epoch FROM sum(finished_at - started_at))::float FROM migration_runbook.step"
        " WHERE direction = 'applied' AND superseded_at IS NULL AND version = ANY (%s)",
        (versions,),
    )
    return seconds


def _drill_seconds(directory: str) -> float | None:
    """Return how long the last drill took to restore the run's backup; None if no drill has passed."""
    path = os.path.join(directory, "backup", DRILL_FILE)
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        seconds: float | None = json.load(file).get("restore_seconds")
    return seconds


def _require(facts: Facts, params: Mapping[str, Any]) -> None:
    if not params["method"]:
        return
    (wanted,) = [entry for entry in facts["methods"] if entry["name"] == params["method"]]
    if not wanted["possible"]:
        raise RunbookError(
            f"{params['method']} is not possible now: {wanted['why_not']}.",
            object_name=params["run"]["id"],
            next_command=wanted["next_command"],
            facts=facts,
        )
