"""Read the journal for status, monitor and report; works on a database without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg2

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import one_row, read_query, savepoint
from ..errors import server_message
from . import ledger, steps
from .guard import find_open_run
from .schema import exists

Facts = dict[str, Any]

#: Why a migration's progress query is not run.
NOT_BEGUN = "nothing moved yet"

EMPTY: Facts = {"exists": False, "open_run": {}, "runs": [], "events": [], "steps": [], "batches": [], "lease": {}}

BATCHES = """
SELECT b.version, b.direction, b.step_number, s.name, s.state, count(*) AS batches, sum(b.rows_moved)::bigint AS rows,
       max(b.pass) AS passes, min(b.at) AS first_at, max(b.at) AS last_at,
       round(avg(b.milliseconds)::numeric, 1) AS milliseconds_per_batch,
       round((sum(b.rows_moved) / greatest(sum(b.milliseconds) / 1000, 0.001))::numeric, 1) AS rows_per_second,
       round(extract(epoch FROM clock_timestamp() - max(b.at))::numeric, 1) AS last_batch_age_seconds
  FROM migration_runbook.batch b JOIN migration_runbook.step s ON s.id = b.step_id
 WHERE s.superseded_at IS NULL AND b.run_id = %s
 GROUP BY b.version, b.direction, b.step_number, s.name, s.state
 ORDER BY max(b.at)
"""


def journal_facts(cursor: Cursor, run_id: str = "") -> Facts:
    """Return the contents of the journal, read in the cursor's transaction.

    :param run_id: the run whose events, steps and batches to read; if empty, the open run or else the newest.
    """
    if not exists(cursor):
        return dict(EMPTY)
    runs = _rows(cursor, "SELECT * FROM migration_runbook.run ORDER BY started_at DESC LIMIT 50")
    open_run = find_open_run(cursor) or {}
    shown = run_id or open_run.get("run_id") or (runs[0]["run_id"] if runs else "")
    leases = _rows(
        cursor,
        # While rows move, the newest batch is the heartbeat, because batches lock the lease's row in shared mode all
        # the time.
        "SELECT l.*, l.released_at IS NULL AS in_use, round(extract(epoch FROM clock_timestamp() - greatest("
        "l.heartbeat_at, (SELECT max(b.at) FROM migration_runbook.batch b WHERE b.run_id = l.run_id)))::numeric, 1)"
        " AS heartbeat_age_seconds FROM migration_runbook.lease l",
    )
    return {
        "exists": True,
        "open_run": open_run,
        "runs": runs,
        "events": _rows(cursor, "SELECT * FROM migration_runbook.event WHERE run_id = %s ORDER BY id", shown),
        "steps": _rows(
            cursor,
            "SELECT *, round(extract(epoch FROM coalesce(finished_at, clock_timestamp()) - started_at)::numeric, 3)"
            " AS seconds FROM migration_runbook.step WHERE run_id = %s ORDER BY id",
            shown,
        ),
        "batches": _rows(cursor, BATCHES, shown),
        "lease": leases[0] if leases else {},
    }


def progress(cursor: Cursor, plan: Mapping[str, Any], running: Mapping[str, Any]) -> list[Facts]:
    """Run each migration's progress query: rows done, total rows, and percent if available.

    A query may need objects that earlier steps create: until rows begin to move, it is listed and not run.

    :param running: what the run does now (see progress.reading). While it moves rows, the journal has the number, so
        nothing is counted.
    """
    applied = ledger.read(cursor)
    asked = [migration for migration in plan["migrations"] if migration.get("progress")]
    if not running or running["rows_total"] is None:
        begun = [row for row in steps.current_steps(cursor) if row["direction"] == "applied"]
        return [
            _progress(cursor, migration, applied)
            if migration["version"] in applied or _has_begun(migration, begun)
            else _entry(migration, applied, {}, NOT_BEGUN)
            for migration in asked
        ]
    moved = {running["version"]: {name: running[name] for name in ("rows_done", "rows_total")}}
    return [
        _entry(migration, applied, moved.get(migration["version"], {}), "not counted while rows are moved")
        for migration in asked
    ]


def _has_begun(migration: Mapping[str, Any], begun: list[Facts]) -> bool:
    """Return whether the journal has the migration's backfill; any step of one that has no backfill."""
    kinds = [row["kind"] for row in begun if row["version"] == migration["version"]]
    return "backfill" in kinds if migration.get("backfill") else bool(kinds)


def _progress(cursor: Cursor, migration: Mapping[str, Any], applied: Mapping[str, Any]) -> Facts:
    row: Facts = {}
    problem = ""
    try:
        with savepoint(cursor):
            row = one_row(cursor, read_query(migration["progress"]))
    except psycopg2.ProgrammingError as error:  # the common parent of UndefinedTable and similar errors
        problem = server_message(error)
    return _entry(migration, applied, row, problem)


def _entry(migration: Mapping[str, Any], applied: Mapping[str, Any], row: Facts, problem: str) -> Facts:
    done, total = row.get("rows_done"), row.get("rows_total")
    known = done is not None and total is not None
    percent = None if done is None or total is None else round(100 * done / total, 1) if total else 100.0
    return {
        "version": migration["version"],
        "title": migration.get("title") or migration["name"],
        "applied": migration["version"] in applied,
        "row": row,
        "rows_done": done if known else None,
        "rows_total": total if known else None,
        "percent": percent,
        "problem": "" if row else problem,
    }


def _rows(cursor: Cursor, statement: str, *parameters: Any) -> list[Facts]:
    cursor.execute(statement, parameters or None)
    return rows_as_dicts(cursor)
