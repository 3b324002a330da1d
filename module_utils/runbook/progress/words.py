"""How far a run is, in lines for the monitor and the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..journal.control_words import in_force

#: Pauses that are listed one by one; of all of them the sum is said.
PAUSES_LISTED = 3


def duration(seconds: float) -> str:
    """Seconds as an operator says them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def in_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what is known, one line per fact; nothing where there is nothing to say."""
    lines = [_running(facts["running"])] if facts["running"] else []
    walking = facts["running"].get("kind") == "backfill"
    # Of a walk's own sessions only those that wait for somebody are worth a line.
    lines += [_session(session) for session in facts["activity"] if session["blocked_by"] or not walking]
    lines += _pauses(facts["pauses"])
    if facts["control"].get("revision"):
        said = facts["control"]
        lines.append(f"{in_force(said)} (said by {said['changed_by']} at {said['changed_at']:%H:%M:%S} UTC)")
    return lines


def _running(running: Mapping[str, Any]) -> str:
    parts = []
    if running["rows_done"] is not None:
        total = "" if running["rows_total"] is None else f" of {running['rows_total']}"
        percent = "" if running["percent"] is None else f" ({running['percent']} %)"
        parts.append(f"{running['rows_done']}{total} rows{percent}")
    if running["state"] == "paused":
        reason = running["reason"]
        parts.append(reason if reason.startswith(("paused", "waiting")) else f"paused: {reason}")
    elif running["state"] == "interrupted":
        parts.append("interrupted: the same command goes on")
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
