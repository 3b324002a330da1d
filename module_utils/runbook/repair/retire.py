"""Remove the compatibility with the old application, once the change log shows that it no longer writes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import psycopg2

from ..database.connection import Connection, Cursor, SessionSettings, read_only_snapshot, session, transaction
from ..database.queries import one_row, read_query, row
from ..errors import RunbookError, driver_errors, from_driver
from ..evidence import change_log_tables as change_log
from ..journal import ledger
from ..journal import repairs as journal
from ..journal.lease import exclusive
from ..journal.runs import ensure, find_open_run, new_run_id
from ..journal.unconfirmed import noted
from ..locking.limits import Locking
from ..locking.retry import Attempt, in_locked_transaction
from ..plain import to_plain
from ..plan.migration_file import Step, parse_file
from ..progress_feed import Writer

Result = dict[str, Any]
Params = Mapping[str, Any]

EMPTY: Result = {"retired": False, "repair_id": "", "writes": 0, "last_at": None, "last_row": "", "rows_examined": 0,
                 "watched_since": None, "steps": []}  # fmt: skip

LOGGED = """
WITH logged AS (
    SELECT w.table_name, c.key, c.operation::text AS operation, c.old_values, c.at
      FROM migration_runbook.change c JOIN migration_runbook.watch w ON w.id = c.watch_id AND w.ended_at IS NULL
)
"""


def retire(params: Params, *, check_mode: bool) -> Result:
    """Retire the compatibility. See pg_retirement for options and result.

    :raises RunbookError: the old application may still write, or there is no change log that shows it.
    """
    wanted = params["plan"]["retirement"]
    if not wanted:
        raise _refusal(params, "the plan defines no retirement", "add retirement to plan.yml")
    settings = SessionSettings(
        application_name=f"runbook {journal.RETIREMENT}",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        read_only=check_mode,
    )
    about = "the retirement of the compatibility"
    with noted(params["connection"], "", about), session(params["connection"], settings) as connection:
        with read_only_snapshot(connection) as cursor:
            done = journal.is_retired(cursor)
            facts = {**EMPTY, "retired": True} if done else {**EMPTY, **_require_quiet(cursor, params, wanted)}
        if done:
            return {**facts, "changed": False, "msg": "the compatibility is already retired"}
        steps = parse_file(wanted["file"], backfill_function=None, direction="applied")
        facts["steps"] = [step.name for step in steps]
        examined = f"{facts['rows_examined']} logged changes examined, {facts['writes']} of them by the old application"
        if check_mode:
            return {**facts, "changed": True, "msg": f"the compatibility would be retired: {examined}"}
        repair_id = f"retire-{new_run_id()}"
        with session(params["connection"], SessionSettings("runbook retire observer", read_only=True)) as observer:
            ensure(connection)
            with exclusive(connection, repair_id):
                for step in steps:
                    _apply(connection, observer, params, step)
                with transaction(connection) as cursor:
                    _note(cursor, repair_id, params["plan"]["plan"], facts, len(steps))
        return {**facts, "changed": True, "retired": True, "repair_id": repair_id, "msg": f"retired: {examined}"}


def _require_quiet(cursor: Cursor, params: Params, wanted: Mapping[str, Any]) -> Result:
    """Refuse unless the log shows that the old application has not written for long enough."""
    run = find_open_run(cursor)
    if run:
        raise _refusal(params, f"run {run['run_id']} is open", "ansible-playbook migrate.yml, to finish it")
    if wanted["after"] not in ledger.read(cursor):
        raise _refusal(params, f"migration {wanted['after']} is not applied", "ansible-playbook migrate.yml")
    logged = change_log.current(cursor)
    if not logged:
        if params["without_log"]:
            return {}
        raise _refusal(
            params,
            "the change log was ended, so writes of the old application cannot be detected",
            "make sure that it no longer runs, then the same command with -e retire_compatibility_without_log=true",
        )
    logged_since = "SELECT now(), max(made_at) FROM migration_runbook.watch WHERE ended_at IS NULL"
    now, since = row(cursor, logged_since) or (None, None)
    days = params["quiet_days"]
    required = f"it must not write for {days:g} days"
    later = "run the same command later; -e retire_compatibility_quiet_days=<days> shortens the wait"
    with driver_errors("the query for writes of the old application", object_name=wanted["old_writes"]):
        found = one_row(cursor, LOGGED + read_query(wanted["old_writes"]))
    quiet_since = now - datetime.timedelta(days=days)
    last = datetime.datetime.fromisoformat(found["last_at"]) if found["last_at"] else None
    if last and last > quiet_since:
        raise _refusal(
            params,
            f"the old application wrote {found['writes']} rows, the last at {found['last_at']} ({found['last_row']}); "
            f"{required}",
            later,
        )
    if since > quiet_since:
        raise _refusal(params, f"its writes have been logged only since {since:%Y-%m-%d %H:%M} UTC; {required}", later)
    return {**found, "watched_since": to_plain(since)}


def _apply(connection: Connection, observer: Connection, params: Params, step: Step) -> None:
    """Run a step in its own transaction, and retry it after a refused lock."""
    doing = f"retire step {step.number} ({step.name})"

    def work(cursor: Cursor, _attempt: Attempt) -> None:
        for statement in step.statements:
            cursor.execute(statement)

    def failure(error: psycopg2.Error, why: str) -> RunbookError:
        again = "run the same command again"
        return from_driver(error, doing, why=why, object_name=step.name, left_as="resumable", next_command=again)

    in_locked_transaction(
        connection,
        observer,
        Locking.from_option(params["locking"]),
        work,
        failure,
        writer=Writer(params["progress_file"]),
        place={"step": doing},
        locks=step.locks,
    )


def _note(cursor: Cursor, repair_id: str, plan: str, facts: Mapping[str, Any], steps: int) -> None:
    counts = {"examined": facts["rows_examined"], "found": facts["writes"], "changed": steps, "archived": 0}
    entry = {f"rows_{name}": number for name, number in counts.items()}
    journal.put(cursor, repair_id, plan, journal.RETIREMENT, "retire", {**entry, "details": dict(facts)})


def _refusal(params: Params, why: str, next_command: str) -> RunbookError:
    return RunbookError(
        f"the compatibility with the old application is not retired: {why}.",
        object_name=params["plan"]["plan"],
        next_command=next_command,
    )
