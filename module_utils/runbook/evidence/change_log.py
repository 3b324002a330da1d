"""Create and drop the change log's triggers, one table per transaction, with bounded lock waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2

from ..database.connection import Connection, Cursor, SessionSettings, Stopwatch, session
from ..database.lock_modes import Lock
from ..errors import RunbookError, from_driver
from ..journal.runs import ensure, find_run, playbook_command
from ..journal.unconfirmed import noted
from ..locking.limits import Locking
from ..locking.retry import Attempt, in_locked_transaction
from ..progress_feed import Writer
from . import change_log_tables as log
from . import change_log_triggers


def logged_table(cursor: Cursor, wanted: Mapping[str, Any], snapshot_taken: bool) -> log.LoggedTable:
    """Return what to log of a table: the columns that the snapshot fingerprints, or will fingerprint.

    :param snapshot_taken: the run has its snapshot: columns that its migrations added since do not count.
    :raises RunbookError: the table or its key column does not exist.
    """
    present = log.current(cursor).get(wanted["table"])
    if snapshot_taken and present:
        return log.logged_table_of(present)
    if not change_log_triggers.owner_of(cursor, wanted["table"]):
        raise RunbookError(
            f"table {wanted['table']} does not exist or is not an ordinary table.",
            object_name=wanted["table"],
            next_command="correct protected_tables in plan.yml",
        )
    columns = log.columns_now(cursor, wanted["table"])
    missing = {wanted["key"], *wanted["kept_columns"]} - {column.name for column in columns}
    if missing:
        raise RunbookError(
            f"table {wanted['table']} has no column {', '.join(sorted(missing))}, which the change log needs.",
            object_name=wanted["table"],
            next_command="correct protected_tables and change_log in plan.yml",
        )
    return log.LoggedTable(wanted["table"], wanted["key"], columns, tuple(wanted["kept_columns"]))


def is_current(cursor: Cursor, wanted: Mapping[str, Any], snapshot_taken: bool) -> bool:
    """Return whether a table is logged completely."""
    present = log.current(cursor).get(wanted["table"])
    if present is None:
        return False
    logged = logged_table(cursor, wanted, snapshot_taken)
    return logged == log.logged_table_of(present) and change_log_triggers.intact(cursor, present["id"], logged)


def remove(cursor: Cursor, tables: Sequence[str]) -> list[str]:
    """Drop the log inside a transaction that has locked these tables, at the end of a restore.

    :returns: what was removed, in words.
    """
    logged = log.current(cursor)
    for name in [name for name in logged if name in tables]:
        change_log_triggers.drop(cursor, name)
        log.end(cursor, name)
    if logged and not log.current(cursor):
        log.drop(cursor)
    return [f"change log: no longer kept for {name}" for name in logged if name in tables]


def has_snapshot(cursor: Cursor, run_id: str) -> bool:
    """Return whether this run has taken its data snapshot."""
    if not run_id or find_run(cursor, run_id) is None:
        return False
    cursor.execute(
        "SELECT status FROM migration_runbook.event WHERE run_id = %s AND phase = 'snapshot_taken'"
        " ORDER BY id DESC LIMIT 1",
        (run_id,),
    )
    return cursor.fetchone() == ("ok",)


Params = Mapping[str, Any]
Entry = dict[str, Any]


class LogTriggers:
    """One call of pg_change_log: its sessions, its limits, and the run that needs the log."""

    def __init__(self, params: Params, connection: Connection, observer: Connection, run_id: str) -> None:
        self._connection = connection
        self._observer = observer
        self._run_id = run_id
        self._writer = Writer(params["progress_file"])
        self._locking = Locking.from_option(params["locking"])
        self.entries: list[Entry] = []
        self.queries: list[str] = []

    def begin(self, wanted: Mapping[str, Any], snapshot_taken: bool) -> None:
        """Create the triggers of one table."""
        name = wanted["table"]

        def work(cursor: Cursor) -> None:
            log.make(cursor)
            logged = logged_table(cursor, wanted, snapshot_taken)
            self.queries += change_log_triggers.create(cursor, log.add(cursor, logged, self._run_id), logged)

        # Waits for open transactions that have written to the table: every later change is logged.
        self._change(name, "made", work, Lock(name, "SHARE ROW EXCLUSIVE"))

    def end(self, name: str) -> None:
        """Drop the triggers of one table."""

        def work(cursor: Cursor) -> None:
            change_log_triggers.drop(cursor, name)
            log.end(cursor, name)

        self._change(name, "removed", work, Lock(name, "ACCESS EXCLUSIVE"))

    def drop_log(self) -> None:
        """Drop the log itself; waits for transactions that have written to it."""
        self._change("migration_runbook.change", "removed", log.drop)

    def note(self, name: str, status: str, attempts: int = 0, seconds: float = 0.0) -> None:
        """Add one table to the result."""
        self.entries.append({"table": name, "status": status, "attempts": attempts, "seconds": seconds})

    def _change(self, name: str, status: str, work: Callable[[Cursor], object], *locks: Lock) -> None:
        stopwatch = Stopwatch()
        place = {"step": f"the change log's triggers on {name}"}
        with self._connection.cursor() as cursor:
            run = find_run(cursor, self._run_id) or {}
        playbook = "migrate.yml" if status == "made" else "playbooks/end_change_log.yml"

        def locked(cursor: Cursor, attempt: Attempt) -> int:
            work(cursor)
            return attempt.number

        def failure(error: psycopg2.Error, why: str) -> RunbookError:
            return from_driver(
                error,
                f"{place['step']} could not be {status}",
                why=why,
                object_name=name,
                left_as="resumable",
                next_command=playbook_command(playbook, run),
            )

        attempts = in_locked_transaction(
            self._connection,
            self._observer,
            self._locking,
            locked,
            failure,
            writer=self._writer,
            place=place,
            locks=locks,
        )
        self.note(name, status, attempts, stopwatch.seconds())


def begin(params: Params, *, check_mode: bool) -> dict[str, Any]:
    """Start to log the changes of these tables. See pg_change_log for options and result."""
    run_id = (params["run"] or {}).get("id") or ""
    kept_columns = {entry["table"]: entry["kept_columns"] for entry in params["kept"]}
    tables = [{**table, "kept_columns": kept_columns.get(table["table"], [])} for table in params["tables"]]
    with sessions(params, run_id, check_mode) as (connection, observer):
        with connection.cursor() as cursor:
            taken = has_snapshot(cursor, run_id)
            kept = {table["table"] for table in tables if is_current(cursor, table, taken)}
        triggers = LogTriggers(params, connection, observer, run_id)
        missing = [table for table in tables if table["table"] not in kept]
        if missing and not check_mode:
            ensure(connection)
        for table in tables:
            if table["table"] in kept:
                triggers.note(table["table"], "kept")
            elif check_mode:
                triggers.note(table["table"], "made")
            else:
                triggers.begin(table, taken)
    return result_of(triggers, would=check_mode)


@contextmanager
def sessions(params: Params, run_id: str, check_mode: bool) -> Iterator[tuple[Connection, Connection]]:
    """Open the session that writes, and one that looks for blockers."""
    settings = SessionSettings(
        application_name=f"runbook {run_id} change log".replace("  ", " "),
        statement_timeout_seconds=params["statement_timeout_seconds"],
        lock_timeout_seconds=Locking.from_option(params["locking"]).lock_timeout_seconds,
        read_only=check_mode,
        settings={"runbook.run_id": run_id} if run_id else {},
    )
    watching = SessionSettings(application_name="runbook change log", read_only=True)
    with (
        noted(params["connection"], run_id, "the change log"),
        session(params["connection"], settings) as writer,
        session(params["connection"], watching) as observer,
    ):
        yield writer, observer


def result_of(triggers: LogTriggers, *, would: bool) -> dict[str, Any]:
    """Return the result of pg_change_log."""
    changed = [entry["table"] for entry in triggers.entries if entry["status"] != "kept"]
    kept = len(triggers.entries) - len(changed)
    status = triggers.entries[0]["status"] if triggers.entries else ""
    for entry in triggers.entries:
        status = entry["status"] if entry["status"] != "kept" else status
    words = f"{'would be ' if would else ''}{status} for {', '.join(changed)}" if changed else ""
    if not triggers.entries:
        words = "there is none"
    elif not changed:
        words = f"kept for {', '.join(entry['table'] for entry in triggers.entries)}"
    elif kept:
        words += f"; {kept} kept"
    return {
        "changed": bool(changed),
        "msg": f"change log: {words}",
        "tables": triggers.entries,
        "queries": triggers.queries,
    }
