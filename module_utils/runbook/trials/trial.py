"""A trial as the plan lists it, and which trials are valid in a state of the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from .trial_file import TrialFile, read_trial

Application = Literal["old", "new"]

#: What ``valid_until`` says for "until the compatibility is retired".
RETIREMENT = "retirement"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One entry of the plan's ``trials`` with its file.

    :param role: that sends the statements; set last, so that row-level security applies.
    :param login_role: that the application connects as: its settings apply. Empty for none.
    :param settings: parameters that the application sets in its session; values may hold ``%(column)s`` of a pick.
    """

    name: str
    title: str
    by: Application
    role: str
    login_role: str
    settings: Mapping[str, str]
    file: TrialFile


def valid_trials(
    plan: Mapping[str, Any], applied: Collection[str], *, retired: bool, by: Application | None = None
) -> list[Trial]:
    """Read the trials that must succeed now.

    :param applied: versions that are applied.
    :param retired: the compatibility with the old application is gone.
    :param by: only those of one application.
    :raises RunbookError: a trial's file cannot be read.
    """
    entries = [entry for entry in plan.get("trials") or [] if by in (None, entry["by"])]
    return [_read(entry) for entry in entries if is_valid(plan, entry, applied, retired=retired)]


def is_valid(plan: Mapping[str, Any], entry: Mapping[str, Any], applied: Collection[str], *, retired: bool) -> bool:
    """Whether the application sends these statements in this state of the database."""
    begins, ends = entry.get("valid_from"), entry.get("valid_until")
    if entry["by"] == "new":
        begins = begins or plan.get("new_application_after") or plan["migrations"][-1]["version"]
    else:
        ends = ends or RETIREMENT
    if begins and begins not in applied:
        return False
    return not (retired if ends == RETIREMENT else ends in applied)


def tables_of_plan(plan: Mapping[str, Any]) -> Sequence[str]:
    """Return the tables whose definition decides what the application meets."""
    moved = [migration["backfill"]["table"] for migration in plan["migrations"] if migration.get("backfill")]
    return list(dict.fromkeys([*(entry["table"] for entry in plan["protected_tables"]), *moved]))


def _read(entry: Mapping[str, Any]) -> Trial:
    return Trial(
        name=entry["name"],
        title=entry.get("title") or entry["name"].replace("_", " "),
        by=entry["by"],
        role=entry["role"],
        login_role=entry.get("login_role") or "",
        settings={name: str(value) for name, value in (entry.get("settings") or {}).items()},
        file=read_trial(entry["file"]),
    )
