"""Mark what cannot be verified yet because its migration is not applied, according to the migration history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..database.connection import Cursor
from ..journal import ledger


def as_applied(
    cursor: Cursor, entries: Iterable[Mapping[str, Any]], versions: Iterable[str] = ()
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries, with ``applied: false`` on those that cannot be judged now, and the pending versions.

    A migration may temporarily remove what an earlier one created, so while one is half done, nothing that needs a
    version is judged.

    :param versions: further versions to look for.
    """
    entries = list(entries)
    wanted = sorted({*versions, *(version for entry in entries for version in entry.get("needs_versions") or [])})
    pending = missing_versions(cursor, wanted)
    half_done = _half_done(cursor, pending)
    return [_judged(entry, pending, half_done) for entry in entries], pending


def checks_of_plan(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the checks of the plan's migrations, then its own, each with the migrations that it looks at."""
    migrations = plan["migrations"]
    own = [{**check, "needs_versions": [one["version"]]} for one in migrations for check in one["checks"]]
    return own + [{**check, "needs_versions": versions_of_plan(plan)} for check in plan["checks"]]


def versions_of_plan(plan: Mapping[str, Any]) -> list[str]:
    """Return the versions of the plan's migrations, in their order."""
    return [migration["version"] for migration in plan["migrations"]]


def missing_versions(cursor: Cursor, versions: Iterable[str]) -> list[str]:
    """Return which of these versions the migration history lacks."""
    versions = list(versions)
    known = ledger.read(cursor) if versions else {}
    return [version for version in versions if version not in known]


def _judged(entry: Mapping[str, Any], pending: Iterable[str], half_done: str) -> dict[str, Any]:
    needs = set(entry.get("needs_versions") or [])
    if needs & set(pending):
        return {**entry, "applied": False}
    if needs and half_done:
        return {**entry, "applied": False, "why_not": f"cannot be judged while migration {half_done}"}
    return dict(entry)


def _half_done(cursor: Cursor, pending: Iterable[str]) -> str:
    """Return the pending version that has begun and not finished, with its direction; empty without one."""
    pending = list(pending)
    if not pending:
        return ""
    # Imported here because they load the SQL parser, which is not needed where everything is applied.
    from ..journal.migration_state import State
    from ..journal.steps import current_steps

    state = State({}, current_steps(cursor))
    ways = ("applied", "reverted")
    begun = (f"{version} is half {way}" for version in pending for way in ways if state.half_done(version, way))
    return next(begun, "")
