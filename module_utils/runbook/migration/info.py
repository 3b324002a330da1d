"""The table of `supabase migration list` for a plan: local, remote, time, drift; and what is half done."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ..journal import ledger
from ..journal import steps as journal_steps
from ..session.connection import Cursor
from .state import State, drift_of, file_steps


def migration_table(cursor: Cursor, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return which migrations of a plan are applied. The cursor's transaction is only read in."""
    state = State(ledger.read(cursor), journal_steps.current_steps(cursor))
    rows = [_row(migration, state) for migration in plan["migrations"]]
    known = {migration["version"] for migration in plan["migrations"]}
    pending = [row["version"] for row in rows if not row["remote"]]
    return {
        "migrations": rows,
        "pending": pending,
        "nothing_pending": not pending and not any(row["partial"] for row in rows),
        "applied": [row["version"] for row in rows if row["remote"]],
        "partial": [row["version"] for row in rows if row["partial"]],
        "drifted": [row["version"] for row in rows if row["drift"] == "edited"],
        "disagreeing": [row["version"] for row in rows if row["disagreement"]],
        "unknown_remote": sorted(set(state.ledger) - known),
    }


def _row(migration: Mapping[str, Any], state: State) -> dict[str, Any]:
    version = migration["version"]
    remote = version in state.ledger
    begun = next((way for way in ("applied", "reverted") if state.half_done(version, way)), "")
    done = [row for row in state.rows(version, begun).values() if row["state"] == "done"] if begun else []
    return {
        "version": version,
        "name": migration["name"],
        "title": migration.get("title") or migration["name"],
        "local": version,
        "remote": version if remote else "",
        "time": _time(version),
        "drift": drift_of(migration, state),
        "partial": begun,
        "steps_done": len(done) if begun else 0,
        "steps": len(file_steps(migration, "reverted" if begun == "reverted" else "applied")),
        "disagreement": _disagreement(version, state, remote, begun),
    }


def _disagreement(version: str, state: State, remote: bool, begun: str) -> str:
    if remote and begun == "applied":
        return "the history lists it as applied, the journal as half applied"
    if not remote and state.closed(version, "applied"):
        return "the journal lists it as applied, the history does not"
    return ""


def _time(version: str) -> str:
    try:
        return datetime.datetime.strptime(version, "%Y%m%d%H%M%S").strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return ""  # a version need not be a time
