"""What a reverse has undone: the journal says which migrations, the results of the reverse how long it took."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..journal.steps import CLOSING_KIND

Result = dict[str, Any]


def read_reversed(run_directory: str) -> dict[str, Result]:
    """Return the newest result of each migration's way back: each command that reversed has a directory of its own."""
    found: dict[str, Result] = {}
    for path in sorted(glob.glob(os.path.join(run_directory, "rollback-*", "results", "*-migration-*.json"))):
        with open(path, encoding="utf-8") as file:
            result = {**json.load(file), "written_at": os.fstat(file.fileno()).st_mtime}
        found[str(result.get("version"))] = result
    return found


def undone(journal: Mapping[str, Any]) -> set[str]:
    """Return the versions that were reverted, in whole or in part, since they were applied."""
    return {step["version"] for step in journal.get("steps", []) if step["direction"] == "reverted"}


def half_undone(journal: Mapping[str, Any]) -> set[str]:
    """Return the versions whose way back has begun and is not through."""
    through = {
        step["version"] for step in journal.get("steps", []) if _closes(step) and step["direction"] == "reverted"
    }
    return undone(journal) - through


def reversed_migrations(
    state: str, journal: Mapping[str, Any], results: Mapping[str, Result], *, restored: bool
) -> list[Result]:
    """Return what was undone by the migrations' own way back, in the order in which it was.

    :param state: of the run. One that was reversed to its end has undone all of it, whatever a later run applied.
    :param results: what :func:`read_reversed` returns; a call that was killed has none.
    :param restored: the backup took the rest back.
    """
    steps = list(journal.get("steps", []))
    if state == "rolled_back" and not restored:
        steps += journal.get("superseded_steps", [])
    by_version: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        if step["direction"] == "reverted":
            by_version.setdefault(step["version"], []).append(step)
    return [_entry(version, found, results.get(version) or {}) for version, found in by_version.items()]


def _entry(version: str, steps: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> Result:
    whole = any(map(_closes, steps))
    keys = ("name", "title", "duration_seconds", "rows_moved")
    return {"version": version, "whole": whole, **{key: result.get(key) for key in keys}}


def _closes(step: Mapping[str, Any]) -> bool:
    return bool(step["kind"] == CLOSING_KIND and step["state"] == "done")


def in_lines(report: Mapping[str, Any]) -> list[str]:
    """Say for each migration of the run, or of its way back, what is the case now."""
    gone = {entry["version"] for entry in report["reversed"]}
    restored = "; undone by the restore" if report["state"] == "rolled_back" else ""
    lines = [
        f"migration {migration['version']}: {'FAILED' if migration['failed'] else migration['state']}"
        f" in {migration['duration_seconds']} s, {migration['rows_moved'] or 0} rows moved{restored}"
        for migration in report["migrations"]
        if migration["version"] not in gone
    ]
    return lines + [f"migration {entry['version']}: {_in_words(entry)}" for entry in report["reversed"]]


def _in_words(entry: Mapping[str, Any]) -> str:
    seconds, rows = entry["duration_seconds"], entry["rows_moved"]
    words = "undone" if entry["whole"] else "undone in part"
    return words + (f" in {seconds} s" if seconds is not None else "") + (f", {rows} rows moved" if rows else "")
