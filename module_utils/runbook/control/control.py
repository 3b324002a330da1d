"""Store an operator's command: one row per run, which the run reads before each batch."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Mapping
from typing import Any, Literal

from psycopg2.extras import Json

from ..database import queries
from ..database.connection import Connection, Cursor, rows_as_dicts
from ..journal import lease, runs

Command = Literal["run", "pause", "abort"]
#: A health signal's levels: at ``slow`` the run throttles, at ``pause`` it waits, at ``abort`` it stops. Null is never;
#: a missing one is the run's own.
Levels = Mapping[str, Mapping[str, float | None]]

#: Every health signal, by the name that levels, pauses and messages use.
SIGNALS = (
    "replica_lag_bytes",
    "slot_lag_bytes",
    "lock_waiters",
    "active_sessions",
    "transactions_per_second",
    "oldest_transaction_seconds",
    "oldest_snapshot_seconds",
    "autovacuum",
    "wal_bytes_per_second",
    "operator_query",
)

#: Phase of the event that the run writes when it has applied a revision.
PHASE = "control"


@dataclasses.dataclass(frozen=True)
class Control:
    """What is in force for a run. None keeps the run's own value; revision 0 means that no command was given."""

    command: Command = "run"
    batch_rows: int | None = None
    batch_budget_milliseconds: float | None = None
    workers: int | None = None
    levels: Levels = dataclasses.field(default_factory=dict)
    postpone_contract: bool | None = None
    revision: int = 0
    changed_by: str = ""
    changed_at: datetime.datetime | None = None


def read(cursor: Cursor, run_id: str) -> Control:
    """Return what is in force for a run. The table must exist, as it does once a run has started."""
    cursor.execute("SELECT * FROM migration_runbook.control WHERE run_id = %s", (run_id,))
    return _from_rows(rows_as_dicts(cursor))


def in_force(cursor: Cursor, run_id: str) -> Control:
    """Like read(), for observers outside the run: an abort that was applied no longer counts."""
    return _unless_obeyed(cursor, run_id, read(cursor, run_id))


def begin(cursor: Cursor, run_id: str) -> Control:
    """Return what is in force when a call starts.

    An abort that an earlier call has applied no longer counts: it ended that call, and the run may continue. An abort
    that no call has read still applies. Everything else stays in force until it is changed. Call this after taking
    the lease.

    :raises RunbookError: whoever held the lease before has closed the run.
    """
    if runs.find_run(cursor, run_id):
        runs.require_open(cursor, run_id)
    cursor.execute(
        "UPDATE migration_runbook.control c SET command = 'run', revision = c.revision + 1,"
        " changed_by = 'the start of the run', changed_at = clock_timestamp()"
        " WHERE c.run_id = %s AND c.command = 'abort' AND EXISTS (SELECT FROM migration_runbook.event e"
        " WHERE e.run_id = c.run_id AND e.phase = %s AND (e.details ->> 'revision')::bigint = c.revision)",
        (run_id, PHASE),
    )
    return read(cursor, run_id)


def acknowledge(cursor: Cursor, run_id: str, control: Control) -> None:
    """Record that a revision is applied, outside any batch's transaction: the second terminal waits for it."""
    runs.record(cursor, run_id, PHASE, "ok", {"revision": control.revision, "command": control.command})


def lock(cursor: Cursor, run_id: str) -> Control:
    """Return what is in force and lock the row until the transaction ends. Create the row if it is missing."""
    cursor.execute(
        "INSERT INTO migration_runbook.control (run_id, revision) VALUES (%s, 0) ON CONFLICT (run_id) DO NOTHING",
        (run_id,),
    )
    cursor.execute("SELECT * FROM migration_runbook.control WHERE run_id = %s FOR UPDATE", (run_id,))
    return _unless_obeyed(cursor, run_id, _from_rows(rows_as_dicts(cursor)))


def write(cursor: Cursor, run_id: str, wanted: Control, changed_by: str) -> Control:
    """Replace what is in force, in the transaction of lock(). Return it with its new revision."""
    cursor.execute(
        "UPDATE migration_runbook.control SET command = %s, batch_rows = %s, batch_budget_milliseconds = %s,"
        " workers = %s, postpone_contract = %s, levels = %s, revision = revision + 1, changed_by = %s,"
        " changed_at = clock_timestamp() WHERE run_id = %s RETURNING *",
        (
            wanted.command,
            wanted.batch_rows,
            wanted.batch_budget_milliseconds,
            wanted.workers,
            wanted.postpone_contract,
            Json(dict(wanted.levels)),
            changed_by,
            run_id,
        ),
    )
    return _from_rows(rows_as_dicts(cursor))


def acknowledged_seconds(cursor: Cursor, run_id: str, revision: int) -> float | None:
    """Return how long it took until a revision (or a later one) was applied; None if it is not yet."""
    row = queries.row(
        cursor,
        "SELECT extract(epoch FROM min(e.at) - c.changed_at) FROM migration_runbook.control c"
        " JOIN migration_runbook.event e ON e.run_id = c.run_id AND e.phase = %s"
        " AND (e.details ->> 'revision')::bigint >= %s WHERE c.run_id = %s GROUP BY c.changed_at",
        (PHASE, revision, run_id),
    )
    return max(0.0, round(float(row[0]), 3)) if row else None


def at_work(cursor: Cursor) -> bool:
    """Return whether a session holds the lease's lock in this database. The lease's row can survive a kill."""
    row = queries.row(
        cursor,
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s"
        " AND granted AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))",
        lease.LOCK_KEY,
    )
    return bool(row and row[0])


def _unless_obeyed(cursor: Cursor, run_id: str, current: Control) -> Control:
    if current.command != "abort":
        return current
    cursor.execute(
        "SELECT FROM migration_runbook.event WHERE run_id = %s AND phase = %s"
        " AND (details ->> 'revision')::bigint = %s LIMIT 1",
        (run_id, PHASE, current.revision),
    )
    return dataclasses.replace(current, command="run") if cursor.rowcount else current


def _from_rows(rows: list[dict[str, Any]]) -> Control:
    if not rows:
        return Control()
    return Control(**{field.name: rows[0][field.name] for field in dataclasses.fields(Control)})


#: Phase of the event that records when workers begin or stop throttling.
PACE = "pace"


class Pauses:
    """Records pauses as they begin and end, one at a time per signal. Not thread-safe."""

    def __init__(self, connection: Connection, run_id: str, version: str) -> None:
        self._connection = connection
        self._place = (run_id, version)
        self._open: dict[str, tuple[int, float]] = {}
        with connection.cursor() as cursor:
            # Pauses that a killed call left open.
            cursor.execute(
                "UPDATE migration_runbook.pause SET ended_at = clock_timestamp()"
                " WHERE run_id = %s AND ended_at IS NULL",
                (run_id,),
            )

    def begin(self, signal: str, reason: str) -> bool:
        """Record that a signal pauses the run. Return whether that is new."""
        if signal in self._open:
            return False
        with self._connection.cursor() as cursor:
            row = queries.row(
                cursor,
                "INSERT INTO migration_runbook.pause (run_id, version, signal, reason) VALUES (%s, %s, %s, %s)"
                " RETURNING id",
                (*self._place, signal, reason),
            )
        self._open[signal] = (int(row[0]) if row else 0, time.monotonic())
        return True

    def seconds(self, signal: str) -> float:
        """Return how long a signal has paused the run."""
        found = self._open.get(signal)
        return time.monotonic() - found[1] if found else 0.0

    def end(self, signal: str) -> None:
        """Record that a signal no longer pauses the run."""
        found = self._open.pop(signal, None)
        if found:
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE migration_runbook.pause SET ended_at = clock_timestamp() WHERE id = %s", (found[0],)
                )

    def end_all(self) -> None:
        """Close open pauses at the end of the call."""
        for signal in list(self._open):
            self.end(signal)


VALUES = ("batch_rows", "batch_budget_milliseconds", "workers", "postpone_contract", "levels")


def in_force_text(current: Mapping[str, Any]) -> str:
    """Return what is in force as text."""
    values = [f"{name}={shown(current[name])}" for name in VALUES if current[name] not in (None, {})]
    return f"in force: {current['command']}; {', '.join(values) or 'all values as the run was started with'}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the change as text."""
    return "; ".join(
        f"{name} {shown(before[name])} -> {shown(after[name])}"
        for name in ("command", *VALUES)
        if before[name] != after[name]
    )


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    if value is None or value == {}:
        return "as started"
    if isinstance(value, dict):
        return ", ".join(
            f"{signal} {kind} at {_level(signal, level)}"
            for signal, both in sorted(value.items())
            for kind, level in both.items()
        )
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _level(signal: str, level: float | None) -> str:
    if level is None:
        return "never"
    units = (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)) if "bytes" in signal else ()
    return next((f"{level / size:g} {unit}" for unit, size in units if level and not level % size), str(level))


def summary(result: Mapping[str, Any], command: str, *, check_mode: bool, wait_seconds: float) -> list[str]:
    """Return what a command replaced, what is in force, and whether the run has applied it."""
    run, force = f"run {result['run_id']}", in_force_text(result["control"])
    if not result["changed"]:
        return [f"{run}: {command} is already in force; nothing changes", force]
    would = "would be " if check_mode else ""
    lines = [f"{run}: {would}changed: {changes(result['before'], result['control'])}", force]
    if check_mode:
        return lines
    if result["acknowledged"]:
        return [*lines, f"the run has applied it, {result['acknowledged_seconds']:g} s after the command"]
    if not result["working"]:
        takes_back = "; -e control=resume undoes it" if command == "abort" else ""
        takes_back += (
            "; playbooks/end_change_log.yml closes a run that has changed no table" if command == "abort" else ""
        )
        return [*lines, f"no run is active; the next start applies the command{takes_back}"]
    within = f" within {wait_seconds:g} s" if wait_seconds else " yet"
    return [*lines, f"the run has not confirmed the command{within}; it applies it before its next batch"]
