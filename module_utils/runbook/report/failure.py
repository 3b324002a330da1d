"""The last failure of a run, and the next command."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..journal.steps import CLOSING_KIND

Result = dict[str, Any]


def read_reversed(run_directory: str) -> dict[str, Result]:
    """Return the newest result of each migration's revert: each reverting command has its own directory."""
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
    """Return the versions whose revert has begun and is not complete."""
    through = {
        step["version"] for step in journal.get("steps", []) if _closes(step) and step["direction"] == "reverted"
    }
    return undone(journal) - through


def reversed_migrations(
    state: str, journal: Mapping[str, Any], results: Mapping[str, Result], *, restored: bool
) -> list[Result]:
    """Return what the reverts undid, in the order in which they ran.

    :param state: of the run. A completely reversed run has undone everything, whatever a later run applied.
    :param results: what :func:`read_reversed` returns; a call that was killed has none.
    :param restored: a restore of the backup undid the rest.
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


def to_lines(report: Mapping[str, Any]) -> list[str]:
    """Return one line on the state of each migration of the run, or of its revert."""
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


KEYS = ("phase", "msg", "object", "sqlstate", "left_as", "next_command")


def newest_failure(
    results: Mapping[str, Result], journal: Mapping[str, Any], reverse_results: Mapping[str, Result]
) -> dict[str, Any] | None:
    """Return the failure that matters now: the newest, so a failed restore hides the failed migration before it.

    While a migration is half reverted, only the failure of that revert matters. The cause of a rollback is not the
    cause of its failure.

    :param results: what ``report.read_results`` returns: each has ``written_at``.
    :param reverse_results: what ``read_reversed`` returns; a call that was killed has none.
    """
    failed = [{**result, "phase": stem} for stem, result in results.items() if result.get("failed")]
    half = half_undone(journal)
    ways_back = [
        {**result, "phase": f"72-reverse-{version}"}
        for version, result in sorted(reverse_results.items())
        if result.get("failed") and (version in half or not half)
    ]
    if half:
        failed = ways_back
    else:
        # A revert that failed before its first step counts as the newest until a later command writes a result.
        since = max((result.get("written_at", 0.0) for result in results.values()), default=0.0)
        failed += [result for result in ways_back if result.get("written_at", 0.0) > since]
    if not failed:
        return None
    newest = max(failed, key=lambda result: (result.get("written_at", 0.0), result["phase"]))
    return {key: newest.get(key, "") for key in KEYS}


def next_command(
    run: Mapping[str, Any], state: str, failure: Mapping[str, Any] | None, journal: Mapping[str, Any]
) -> str:
    """Return the next command."""
    target = (
        "" if run.get("environment") == "local" else f" -i inventories/{run['environment']} -e confirm={run['host']}"
    )
    again = f"ansible-playbook migrate.yml{target}"
    if failure and failure["phase"].split("-", 2)[1] in ("safety_backup", "restore", "swap_prepare"):
        again = f"ansible-playbook rollback.yml{target} -e method=restore"
    if half_undone(journal) or (failure and failure["phase"].startswith("72-reverse-")):
        again = f"ansible-playbook rollback.yml{target} -e method=reverse"
    if state == "rolled_back":
        return f"remove the cause, then: {again}"
    if failure:
        return str(failure["next_command"] or again)
    if state in ("interrupted", "stopped"):
        return again
    return "nothing: the plan is applied and verified"
