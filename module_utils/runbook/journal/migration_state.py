"""Derive the state of each migration from ledger, journal and files, and what a call may do. Pure functions."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..database.connection import Cursor
from ..errors import RunbookError
from ..plan.migration_file import Direction, Step, file_statements, parse_file
from . import ledger
from . import steps as journal_steps
from .steps import CLOSING_KIND

Plan = Mapping[str, Any]
Migration = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class State:
    """What the database contains.

    :param ledger: applied versions with their rows.
    :param steps: rows of the journal that count.
    """

    ledger: Mapping[str, Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]]

    def rows(self, version: str, direction: str) -> dict[int, Mapping[str, Any]]:
        """Return the journal's rows of one migration and direction, by step number."""
        return {
            row["step_number"]: row for row in self.steps if row["version"] == version and row["direction"] == direction
        }

    def closed(self, version: str, direction: str) -> bool:
        """Return whether the journal records this direction as complete, ledger included."""
        return any(row["kind"] == CLOSING_KIND for row in self.rows(version, direction).values())

    def half_done(self, version: str, direction: str) -> bool:
        """Return whether steps of this direction have begun and it is not complete."""
        return bool(self.rows(version, direction)) and not self.closed(version, direction)


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a call has to do.

    :param needed: false if the migration is already in the wanted state.
    :param afresh: the journal's rows of this direction are from an earlier time and become history.
    :param done: numbers of the steps that earlier calls have finished.
    """

    needed: bool
    afresh: bool = False
    done: frozenset[int] = frozenset()


def find_migration(plan: Plan, version: str) -> Migration:
    """Return the plan's migration of a version.

    :raises RunbookError: the plan has no such version.
    """
    for migration in plan["migrations"]:
        if migration["version"] == version:
            return dict(migration)
    known = ", ".join(migration["version"] for migration in plan["migrations"])
    raise RunbookError(
        f"plan {plan['plan']} has no migration {version}; it has {known}.",
        object_name=version,
        next_command=f"choose one of the versions {known}",
    )


def file_steps(migration: Migration, direction: Direction) -> list[Step]:
    """Parse what this direction runs: the migration file; or the shared functions of reverts and the revert file."""
    if direction == "applied":
        return parse_file(migration["file"], backfill_function=_function(migration.get("backfill")))
    shared = migration.get("revert_functions")
    first = parse_file(shared, direction=direction) if shared else []
    function = _function(migration.get("revert_backfill"))
    own = parse_file(migration["revert_file"], backfill_function=function, direction=direction)
    return [*first, *(dataclasses.replace(step, number=step.number + len(first)) for step in own)]


def _function(backfill: Mapping[str, Any] | None) -> str | None:
    return (backfill or {}).get("function")


def drift_of(migration: Migration, state: State) -> ledger.Drift:
    """Compare an applied migration's file with what was applied; ``none`` for one that is not applied."""
    row = state.ledger.get(migration["version"])
    return ledger.drift(row, file_statements(file_steps(migration, "applied"))) if row else "none"


def decide(
    plan: Plan, version: str, direction: Direction, state: State, steps: Sequence[Step], *, in_order: bool = True
) -> Decision:
    """Return what a call has to do.

    :param in_order: refuse a version that is not next.

    :raises RunbookError: the order is wrong, a file was edited, or ledger and journal disagree.
    """
    if direction == "applied":
        _require_nothing_half_reverted(plan, state)
        _require_agreement(version, state)
        _require_no_drift(plan, state)
        needed = version not in state.ledger
    else:
        begun = any(state.half_done(version, either) for either in ("applied", "reverted"))
        needed = version in state.ledger or begun or state.closed(version, "applied")
    if not needed:
        return Decision(needed=False)
    if in_order:
        _require_order(plan, version, direction, state)
    if state.closed(version, direction):
        return Decision(needed=True, afresh=True)
    rows = state.rows(version, direction)
    done: set[int] = set()
    for step in steps:
        row = rows.get(step.number)
        if row is None or row["state"] != "done" or row["sha256"] != step.sha256:
            break  # every later step runs: it may depend on this one, and each can run twice
        done.add(step.number)
    return Decision(needed=True, done=frozenset(done))


def _require_nothing_half_reverted(plan: Plan, state: State) -> None:
    """The ledger keeps such a version until its revert is complete, but no other migration may build on it."""
    for version in (migration["version"] for migration in plan["migrations"]):
        if state.half_done(version, "reverted"):
            _refuse(
                f"migration {version} is half reverted. Finish the revert first.",
                version,
                f"pg_migration with version {version} and state reverted",
            )


def _require_agreement(version: str, state: State) -> None:
    """Require that journal and ledger agree before a migration is applied. A revert repairs either of them."""
    applied = version in state.ledger
    if applied and state.half_done(version, "applied"):
        _refuse(
            f"ledger and journal disagree on {version}: {ledger.TABLE} lists it as applied, but the journal has "
            "unfinished steps of it. Something other than this runbook wrote the ledger's row. Delete the row and run "
            "again: completed steps are kept, and every step may run twice.",
            version,
            f"supabase migration repair --status reverted {version}",
        )
    if not applied and state.closed(version, "applied"):
        _refuse(
            f"ledger and journal disagree on {version}: the journal says that it was applied and verified, but "
            f"{ledger.TABLE} does not list it. If its changes are in the database, record it as applied. If they were "
            "undone by other means, revert it: every step of a revert file may run twice.",
            version,
            f"supabase migration repair --status applied {version}",
        )


def _require_no_drift(plan: Plan, state: State) -> None:
    for migration in plan["migrations"]:
        if drift_of(migration, state) == "edited":
            path = migration["file"]
            raise RunbookError(
                f"migration {migration['version']} is applied, and its file {path} was edited afterwards: it differs "
                f"from the statements in {ledger.TABLE}. Editing the file does not change what is applied; restore the "
                "file and write a new migration.",
                object_name=path,
                next_command=f"git checkout -- {path}",
            )


def _require_order(plan: Plan, version: str, direction: Direction, state: State) -> None:
    versions = [migration["version"] for migration in plan["migrations"]]
    place = versions.index(version)
    if direction == "applied":
        pending = [earlier for earlier in versions[:place] if earlier not in state.ledger]
        if pending:
            _refuse(
                f"migration {version} comes after {', '.join(pending)}, which is not applied.",
                version,
                f"pg_migration with version {pending[0]} and state applied",
            )
        return
    later = [other for other in versions[place + 1 :] if other in state.ledger or state.half_done(other, "applied")]
    if later:
        _refuse(
            f"migration {version} comes before {', '.join(later)}, which is applied or begun: revert the "
            "last one first.",
            version,
            f"pg_migration with version {later[-1]} and state reverted",
        )


def _refuse(msg: str, version: str, next_command: str) -> NoReturn:
    raise RunbookError(msg, object_name=version, next_command=next_command)


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
