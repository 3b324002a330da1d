"""Read a run's progress from the journal: position, rate, pauses, and what its sessions do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..control import control
from ..control.control import PACE, in_force_text
from ..database.connection import Cursor, rows_as_dicts
from ..journal import schema
from ..locking import blockers
from .estimate import WINDOWS, Estimate

#: Pauses listed one by one; the sum counts all.
PAUSES_LISTED = 3


def duration(seconds: float) -> str:
    """Return seconds as text: `90 s`, `12 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def to_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the known facts, one line each."""
    lines = [_running_line(facts["running"])] if facts["running"] else []
    in_backfill = facts["running"].get("kind") == "backfill"
    # Of a backfill's own sessions show only those that wait for a lock.
    lines += [_session(session) for session in facts["activity"] if session["blocked_by"] or not in_backfill]
    lines += _pauses(facts["pauses"])
    if facts["control"].get("revision"):
        current = facts["control"]
        lines.append(
            f"{in_force_text(current)} (set by {current['changed_by']} at {current['changed_at']:%H:%M:%S} UTC)"
        )
    return lines


def _running_line(running: Mapping[str, Any]) -> str:
    parts = []
    if running["rows_done"] is not None:
        total = "" if running["rows_total"] is None else f" of {running['rows_total']}"
        percent = "" if running["percent"] is None else f" ({running['percent']} %)"
        parts.append(f"{running['rows_done']}{total} rows{percent}")
    if running["state"] == "paused":
        reason = running["reason"]
        parts.append(reason if reason.startswith(("paused", "waiting")) else f"paused: {reason}")
    elif running["state"] == "interrupted":
        parts.append("interrupted; the same command resumes it")
    else:
        parts += _pace(running)
        parts += [running["reason"]] if running["reason"] else []
    return f"{running['version']} {running['step']}: {', '.join(parts) or running['kind'] + ' step at work'}"


def _pace(running: Mapping[str, Any]) -> list[str]:
    parts, batch = [], running["batch"]
    if running["rows_per_second"] is not None:
        parts.append(f"{running['rows_per_second']:.0f} rows/s")
    if running["eta_seconds"] is not None:
        band = f"{duration(running['eta_low_seconds'])} to {duration(running['eta_high_seconds'])}"
        parts.append(f"{duration(running['eta_seconds'])} left ({band})")
    if running["workers"]:
        parts.append(f"{running['workers']} worker{'s' if running['workers'] > 1 else ''}")
    if batch:
        upto = f"up to {batch['upto']} " if batch["upto"] else ""
        size = f"{batch['rows']} rows in {batch['milliseconds']} ms"
        parts.append(f"last batch {upto}{batch['age_seconds']} s ago: {size}")
    return parts


def _session(session: Mapping[str, Any]) -> str:
    what = session["query"]
    if session["phase"]:
        percent = f" {session['percent']:.0f} %" if session["percent"] is not None else ""
        what = f"{session['phase']}{percent}: {what}"
    waits = f" waits for a lock. {session['blocked_by']}" if session["blocked_by"] else ""
    return f"{session['application']} (pid {session['pid']}), {session['seconds']} s: {what}{waits}"


def _pauses(pauses: list[Mapping[str, Any]]) -> list[str]:
    if not pauses:
        return []
    whole = duration(sum(float(pause["seconds"]) for pause in pauses))
    listed = "; ".join(
        f"{'now' if pause['open'] else format(pause['started_at'], '%H:%M:%S')} {pause['signal']} "
        f"{duration(float(pause['seconds']))}"
        for pause in pauses[:PAUSES_LISTED]
    )
    return [f"pauses so far: {len(pauses)}, {whole} in all; the newest: {listed}"]


Facts = dict[str, Any]

#: Whole seconds of batches from which the rate is computed; the first only marks the start.
SECONDS = WINDOWS + 2
PAUSES_SHOWN = 20

STEP = """
SELECT id, version, name, kind, rows_total
  FROM migration_runbook.step
 WHERE run_id = %s AND state = 'intent' AND superseded_at IS NULL
 ORDER BY id DESC LIMIT 1
"""

BATCHES = """
SELECT coalesce(sum(rows_moved), 0)::bigint AS rows_done, count(*) AS batches,
       count(DISTINCT worker) FILTER (WHERE at > clock_timestamp() - interval '10 seconds') AS workers
  FROM migration_runbook.batch WHERE step_id = %s
"""

NEWEST = """
SELECT after_key AS after, upto_key AS upto, rows_moved AS rows, worker, milliseconds,
       round(extract(epoch FROM clock_timestamp() - at)::numeric, 1) AS age_seconds,
       floor(extract(epoch FROM at))::bigint AS second, floor(extract(epoch FROM clock_timestamp()))::bigint AS now
  FROM migration_runbook.batch WHERE step_id = %s ORDER BY id DESC LIMIT 1
"""

ROWS_BY_SECOND = """
SELECT floor(extract(epoch FROM at))::bigint AS second, sum(rows_moved)::bigint AS rows
  FROM migration_runbook.batch
 WHERE step_id = %s AND extract(epoch FROM at) >= %s GROUP BY 1 ORDER BY 1
"""

PAUSES = """
SELECT version, signal, reason, started_at, ended_at, ended_at IS NULL AS open,
       round(extract(epoch FROM coalesce(ended_at, clock_timestamp()) - started_at)::numeric, 1) AS seconds,
       extract(epoch FROM started_at)::float AS began,
       extract(epoch FROM coalesce(ended_at, 'infinity'))::float AS ended
  FROM migration_runbook.pause WHERE run_id = %s ORDER BY id DESC
"""

PACE_OF_STEP = """
SELECT CASE WHEN status = 'gives way' THEN 'gives way: ' || (details ->> 'reason') ELSE '' END AS reason
  FROM migration_runbook.event
 WHERE run_id = %s AND phase = %s AND details ->> 'version' = %s
   -- Of the call at work: one that was killed has not said that it gives way no longer.
   AND at >= coalesce((SELECT max(acquired_at) FROM migration_runbook.lease), '-infinity')
 ORDER BY id DESC LIMIT 1
"""

# Sessions that only read, such as this call, do not belong to the run.
SESSIONS = r"""
SELECT a.pid, a.application_name AS application, coalesce(a.wait_event_type, '') AS waits_for,
       pg_catalog.left(pg_catalog.regexp_replace(a.query, '\s+', ' ', 'g'), 120) AS query,
       round(extract(epoch FROM clock_timestamp() - a.query_start)::numeric, 1) AS seconds,
       coalesce(i.phase, v.phase, n.phase, '') AS phase,
       CASE WHEN i.tuples_total > 0 THEN 100.0 * i.tuples_done / i.tuples_total
            WHEN i.blocks_total > 0 THEN 100.0 * i.blocks_done / i.blocks_total
            WHEN v.heap_blks_total > 0 THEN 100.0 * v.heap_blks_scanned / v.heap_blks_total
            WHEN n.sample_blks_total > 0 THEN 100.0 * n.sample_blks_scanned / n.sample_blks_total END AS percent,
       pg_catalog.cardinality(pg_catalog.pg_blocking_pids(a.pid)) > 0 AS blocked
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN pg_catalog.pg_stat_progress_create_index i ON i.pid = a.pid
  LEFT JOIN pg_catalog.pg_stat_progress_vacuum v ON v.pid = a.pid
  LEFT JOIN pg_catalog.pg_stat_progress_analyze n ON n.pid = a.pid
 WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() AND a.state = 'active'
   AND coalesce(a.backend_type, 'client backend') = 'client backend'
   AND a.application_name LIKE 'runbook %'
   AND a.application_name !~ '( observer|_info|runbook (control|identify|report|journal))$'
 ORDER BY a.pid
"""


def watch(cursor: Cursor, run_id: str) -> Facts:
    """Return ``running``, ``pauses``, ``control``, ``activity`` of a run and ``summary``, all of it in lines."""
    facts: Facts = {"running": {}, "pauses": [], "control": {}, "activity": []}
    if schema.exists(cursor) and schema.has_engine_tables(cursor):
        cursor.execute(PAUSES, (run_id,))
        pauses = rows_as_dicts(cursor)
        working = control.at_work(cursor)
        facts["running"] = _running(cursor, run_id, pauses, working)
        facts["pauses"] = [{key: pause[key] for key in pause if key not in ("began", "ended")} for pause in pauses]
        facts["control"] = dataclasses.asdict(control.in_force(cursor, run_id))
        facts["activity"] = _activity(cursor)
    facts["summary"] = to_lines(facts)
    facts["pauses"] = facts["pauses"][:PAUSES_SHOWN]
    return facts


def _running(cursor: Cursor, run_id: str, pauses: list[Facts], working: bool) -> Facts:
    """Return what the newest started step does, with the keys of a progress line; empty if none has started."""
    cursor.execute(STEP, (run_id,))
    found = rows_as_dicts(cursor)
    if not found:
        return {}
    step = found[0]
    held = [pause for pause in pauses if pause["open"]] if working else []
    facts = {
        "version": step["version"],
        "step": step["name"],
        "kind": step["kind"],
        "state": "paused" if held else "running" if working else "interrupted",
        "reason": "; ".join(pause["reason"] for pause in held),
        "rows_total": step["rows_total"],
        **dict.fromkeys(("rows_done", "rows_per_second", "eta_seconds", "eta_low_seconds", "eta_high_seconds")),
        **dict.fromkeys(("batch", "workers", "percent")),
    }
    if step["kind"] != "backfill":
        return facts
    if facts["state"] == "running":
        cursor.execute(PACE_OF_STEP, (run_id, PACE, step["version"]))
        facts["reason"] = next((reason for (reason,) in cursor.fetchall()), "")
    return {**facts, **_backfill_progress(cursor, step, pauses, working)}


def _backfill_progress(cursor: Cursor, step: Facts, pauses: list[Facts], working: bool) -> Facts:
    cursor.execute(BATCHES, (step["id"],))
    sums = rows_as_dicts(cursor)[0]
    done, total = sums["rows_done"], step["rows_total"]
    facts: Facts = {"rows_done": done, "workers": sums["workers"] or None}
    if total is not None:
        facts["percent"] = round(min(100.0, 100 * done / total), 1) if total else 100.0
    cursor.execute(NEWEST, (step["id"],))
    newest = rows_as_dicts(cursor)
    if not newest:
        return facts
    second, now = newest[0].pop("second"), newest[0].pop("now")
    facts["batch"] = newest[0]
    # The current second is incomplete. After the work has ended, return its last rate.
    estimate = _estimate(cursor, step["id"], pauses, upto=now - 1 if working else second)
    facts["rows_per_second"] = estimate.rate
    eta = estimate.eta(total - done) if total is not None and working else None
    if eta:
        facts |= dict(zip(("eta_seconds", "eta_low_seconds", "eta_high_seconds"), eta, strict=True))
    return facts


def _estimate(cursor: Cursor, step_id: int, pauses: list[Facts], *, upto: int) -> Estimate:
    cursor.execute(ROWS_BY_SECOND, (step_id, upto - SECONDS))
    rows = dict(cursor.fetchall())
    estimate, done = Estimate(), 0
    for second in range(min(rows, default=upto), upto + 1):
        done += rows.get(second, 0)
        paused = any(pause["began"] < second + 1 and pause["ended"] > second for pause in pauses)
        estimate.add(second + 1, done, paused=paused)
    return estimate


def _activity(cursor: Cursor) -> list[Facts]:
    cursor.execute(SESSIONS)
    sessions = rows_as_dicts(cursor)
    for session in sessions:
        session["blocked_by"] = ""
        if session.pop("blocked"):
            cursor.execute(blockers.BLOCKERS, (session["pid"],))
            found = rows_as_dicts(cursor)
            session["blocked_by"] = blockers.to_text(found) if found else ""
    return sessions
