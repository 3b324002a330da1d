"""Diagnose the plan's issues, or repair one in one transaction and record the counts in the journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg2

from ..database.connection import (
    Cursor,
    SessionSettings,
    read_only_snapshot,
    rows_as_dicts,
    session,
)
from ..database.deployment_path import use_deployment_path
from ..database.queries import ROWS_SHOWN, read_query, value
from ..database.values import as_text
from ..errors import RunbookError, from_driver
from ..journal import repairs as journal
from ..journal.lease import exclusive
from ..journal.runs import ensure, new_run_id
from ..journal.unconfirmed import noted
from ..locking.limits import Locking
from ..locking.retry import in_locked_transaction
from ..plain import to_plain
from ..progress_feed import Writer
from . import archive, find, work_list

Result = dict[str, Any]
Params = Mapping[str, Any]

EMPTY: Result = {
    "issue": "", "title": "", "cause": "", "remedy": "", "rows_examined": 0, "rows_found": 0, "reasons": {}, "rows": [],
    "rows_changed": 0, "rows_archived": 0, "rows_left": 0, "work_list": "", "repair_id": "", "issues": [],
    "left_in_the_way": [],
    "summary": [],
}  # fmt: skip


def diagnose(params: Params) -> Result:
    """Return the rows to repair of one issue or of all. Read-only; for one issue it writes the work list."""
    plan, name = params["plan"], params["issue"]
    wanted = [find.choose(plan, name)] if name else plan["repairs"]
    found: list[Result] = []
    lines: list[str] = []
    listed = ""
    with (
        session(params["connection"], _settings("runbook repair_info", params, read_only=True)) as connection,
        read_only_snapshot(connection) as cursor,
    ):
        for issue in wanted:
            rows = find.only(find.rows_found(cursor, issue), params["keys"], issue["issue"])
            found.append(find.diagnosis(issue, rows, find.rows_examined(cursor, issue)))
            lines += find.to_lines(found[-1], issue, params["retry_command"], ROWS_SHOWN if name else find.ROWS_IN_LIST)
            if name and rows and params["directory"] and any(remedy.get("work_list") for remedy in issue["remedies"]):
                listed = os.path.join(params["directory"], f"{issue['issue']}.csv")
                work_list.export(listed, rows)
                lines.append(f"work list: {listed}")
    one = found[0] if name else {}
    total = sum(entry["rows_found"] for entry in found)
    return {
        **EMPTY, **one, "msg": f"{total} rows to repair, nothing was changed", "issues": found, "work_list": listed,
        "rows_left": total, "left_in_the_way": find.in_the_way(found), "summary": lines,
    }  # fmt: skip


def repair(params: Params, *, check_mode: bool) -> Result:
    """Repair one issue. See pg_repair for options and result."""
    plan, issue = params["plan"], find.choose(params["plan"], params["issue"])
    remedy = find.remedy_of(issue, params["remedy"], f"{params['retry_command']} -e issue={issue['issue']}")
    lines = _corrected_lines(params, issue, remedy)
    repair_id = f"repair-{new_run_id()}"

    def work(cursor: Cursor) -> Result:
        result = _repair(cursor, plan, issue, remedy, params, lines, repair_id)
        if result["rows_changed"] or result["rows_archived"]:
            result["changed"] = True
            journal.put(cursor, repair_id, plan["plan"], issue["issue"], remedy["name"], result)
        return result

    if check_mode:
        found = diagnose({**params, "directory": ""})
        return {
            **found, "changed": found["rows_found"] > 0, "remedy": remedy["name"],
            "msg": f"{issue['issue']}: {found['rows_found']} rows would be repaired ({remedy['title']})",
        }  # fmt: skip
    return in_one_transaction(params, repair_id, issue["issue"], work)


def in_one_transaction(params: Params, repair_id: str, what: str, work: Callable[[Cursor], Result]) -> Result:
    """Run work in one transaction while no migration writes, and retry it after a refused lock."""
    doing = f"the repair of {what}"

    def failure(error: psycopg2.Error, why: str) -> RunbookError:
        return from_driver(error, doing, why=why, object_name=what, next_command="run the same command again")

    observing = SessionSettings(application_name="runbook repair", read_only=True)
    with (
        noted(params["connection"], "", doing),
        session(params["connection"], _settings(f"runbook {repair_id}", params, read_only=False)) as connection,
        session(params["connection"], observing) as observer,
    ):
        ensure(connection)
        with exclusive(connection, repair_id):
            return in_locked_transaction(
                connection,
                observer,
                Locking.from_option(params["locking"]),
                lambda cursor, _attempt: work(cursor),
                failure,
                writer=Writer(params["progress_file"]),
                place={"step": doing},
            )


def _repair(
    cursor: Cursor,
    plan: Mapping[str, Any],
    issue: find.Issue,
    remedy: Mapping[str, Any],
    params: Params,
    lines: Sequence[work_list.Line],
    repair_id: str,
) -> Result:
    examined = find.rows_examined(cursor, issue)
    cursor.execute("CREATE TEMPORARY TABLE found ON COMMIT DROP AS " + read_query(issue["find"]))
    with as_text(cursor.connection) as reader:
        reader.execute("SELECT * FROM pg_temp.found")
        rows = find.only(to_plain(rows_as_dicts(reader)), params["keys"], issue["issue"])
    if params["keys"]:
        cursor.execute('DELETE FROM pg_temp.found WHERE key::text COLLATE "C" <> ALL (%s)', (list(params["keys"]),))
    archive.prepare(cursor, plan)
    use_deployment_path(cursor, [entry["table"] for entry in plan["protected_tables"]])
    changed = 0
    if remedy.get("archive"):
        cursor.execute(
            "INSERT INTO pg_temp.to_archive SELECT %s || ': ' || reason, %s, key FROM pg_temp.found",
            (issue["issue"], issue["table"]),
        )
    elif remedy.get("work_list"):
        key = next(entry["key"] for entry in plan["protected_tables"] if entry["table"] == issue["table"])
        changed = work_list.apply(cursor, params["work_list"], lines, issue, remedy, key)
    else:
        changed = int(value(cursor, read_query(remedy["script"])))
    archived = archive.archive_rows(cursor, plan, repair_id)
    left = len(find.rows_found(cursor, issue))
    verb = "repaired" if changed or archived else "nothing to repair in"
    return {
        **EMPTY, **find.diagnosis(issue, rows, examined), "changed": False, "remedy": remedy["name"],
        "rows_changed": changed, "rows_archived": archived, "rows_left": left, "repair_id": repair_id,
        "msg": f"{verb} {issue['issue']}: {examined} rows examined, {len(rows)} found, {changed} changed,"
        f" {archived} archived, {left} left",
        "details": {"keys": [row["key"] for row in rows][:1000]},
    }  # fmt: skip


def _corrected_lines(params: Params, issue: find.Issue, remedy: Mapping[str, Any]) -> list[work_list.Line]:
    if not remedy.get("work_list"):
        return []
    command = f"{params['retry_command']} -e issue={issue['issue']}"
    if not params["work_list"]:
        raise RunbookError(
            f"{issue['issue']}: remedy={remedy['name']} needs the corrected work list.",
            object_name=issue["issue"],
            next_command=f"{command} (it writes the list), then: {command} -e apply=true"
            f" -e remedy={remedy['name']} -e work_list=<the corrected list>",
        )
    with (
        session(params["connection"], _settings("runbook repair_info", params, read_only=True)) as connection,
        read_only_snapshot(connection) as cursor,
    ):
        cursor.execute(read_query(issue["find"]))
        return work_list.read(params["work_list"], [column.name for column in cursor.description or ()])


def _settings(name: str, params: Params, *, read_only: bool) -> SessionSettings:
    return SessionSettings(
        application_name=name, statement_timeout_seconds=params["statement_timeout_seconds"], read_only=read_only
    )
