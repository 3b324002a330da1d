"""Build the report of a run from the result files in its directory."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from typing import Any

from ..journal.changes import ABANDONED
from .failure import newest_failure, next_command, reversed_migrations, undone

Result = dict[str, Any]

#: Result files by phase, in the order of the guide: the part of the file name between number and extension.
PHASES: dict[str, str] = {
    "promotion": "Promotion gate",
    "environment": "Environment verification",
    "change_log": "Change log of the application's writes",
    "backup": "Backup and data snapshot",
    "migration": "Migration",
    "integrity": "Integrity verification",
    "comparison": "Comparison with the data snapshot",
    "performance": "Performance verification",
    "swap_prepare": "Restore beside the live database",
    "sessions": "End of the application's sessions",
    "safety_backup": "Safety backup of the current state",
    "restore": "Restore of the run's backup",
    "reverse": "Revert of the migrations one by one",
    "troubleshooting": "Troubleshooting",
}

#: Phases that a complete run needs.
WHOLE = ("environment", "integrity", "performance")


def read_results(run_directory: str) -> dict[str, Result]:
    """Read ``results/*.json`` as a dict from file stem (``30-migration-<version>``) to result, in name order.

    Each result gets ``written_at``, the time of its file: a later attempt keeps the results of phases that it does
    not reach.
    """
    results: dict[str, Result] = {}
    for path in sorted(glob.glob(os.path.join(run_directory, "results", "*.json"))):
        with open(path, encoding="utf-8") as file:
            written_at = os.fstat(file.fileno()).st_mtime
            results[os.path.basename(path).removesuffix(".json")] = {**json.load(file), "written_at": written_at}
    return results


def phase_of(stem: str) -> str:
    """Return the phase of a result file's stem: ``30-migration-20250101`` belongs to ``migration``."""
    return stem.split("-", 2)[1] if "-" in stem else stem


def build(
    run: Mapping[str, Any],
    results: Mapping[str, Result],
    journal: Mapping[str, Any] | None,
    reverse_results: Mapping[str, Result] | None = None,
) -> dict[str, Any]:
    """Return the report (docs/report.schema.json describes its shape).

    :param run: facts of the run: id, directory, plan, plan_hash, environment, host, hosts, stop_after, accept_slow.
    :param results: what :func:`read_results` returns.
    :param journal: events and steps of the run from the database; None if it could not be read.
    :param reverse_results: what ``failure.read_reversed`` returns.
    """
    by_phase: dict[str, list[Result]] = {}
    for stem, result in results.items():
        by_phase.setdefault(phase_of(stem), []).append(result)
    failure = newest_failure(results, journal or {}, reverse_results or {})
    warnings = _warnings(by_phase)
    state = _state(run, by_phase, failure, journal or {})
    restored = _first(by_phase, "restore").get("rows", {})
    return {
        "report_version": 1,
        "run": dict(run),
        "state": state,
        "failure": failure,
        "warnings": warnings,
        "promotion": {
            key: value
            for key, value in _first(by_phase, "promotion").items()
            if key in ("accept_slow", "runs", "reasons")
        },
        "server": _first(by_phase, "environment").get("server", {}),
        "volume": _first(by_phase, "environment").get("volume", {}),
        "findings": _first(by_phase, "environment").get("findings", []),
        "backup": _first(by_phase, "backup").get("manifest", {}),
        "backup_directory": _first(by_phase, "backup").get("directory", ""),
        "phases": [_phase(stem, result) for stem, result in results.items()],
        "migrations": [_migration(result) for result in by_phase.get("migration", [])],
        "reversed": reversed_migrations(state, journal or {}, reverse_results or {}, restored=bool(restored)),
        "counts": _first(by_phase, "comparison").get("counts", []),
        "fingerprints": _first(by_phase, "comparison").get("fingerprints", []),
        "differences": _first(by_phase, "comparison").get("differences", []),
        "checks": _checks(by_phase),
        "trials": _trials(by_phase),
        "performance": _first(by_phase, "performance").get("results", []),
        "restore": restored,
        "journal": dict(journal or {}),
        "slow": _first(by_phase, "performance").get("slow", []),
        "next_command": next_command(run, state, failure, journal or {}),
    }


def _state(
    run: Mapping[str, Any],
    by_phase: Mapping[str, list[Result]],
    failure: Mapping[str, Any] | None,
    journal: Mapping[str, Any],
) -> str:
    restore = _first(by_phase, "restore")
    if (restore and not restore.get("failed")) or journal.get("state") == "rolled_back":
        return "rolled_back"
    if journal.get("state") == ABANDONED:
        return "refused" if failure else "interrupted"
    if failure:
        return "refused" if failure["left_as"] == "unchanged" and "migration" not in by_phase else "failed"
    if run.get("stop_after"):
        return "stopped"
    applied = {result.get("version") for result in by_phase.get("migration", [])} - undone(journal)
    if undone(journal) or not all(phase in by_phase for phase in WHOLE) or not set(run.get("to_apply", [])) <= applied:
        return "interrupted"
    return "complete_with_warnings" if _first(by_phase, "performance").get("slow") else "complete"


def _warnings(by_phase: Mapping[str, list[Result]]) -> list[str]:
    found = [
        f"{finding['name']}: {finding['found']}"
        for finding in _first(by_phase, "environment").get("findings", [])
        if finding.get("severity") == "warning"
    ]
    performance = _first(by_phase, "performance").get("warnings_found", [])
    comparison = _first(by_phase, "comparison")
    if comparison.get("differences") and not comparison.get("failed"):
        found.append(f"comparison: {comparison['msg']}")
    return found + [f"performance query {warning}" for warning in performance]


def _first(by_phase: Mapping[str, list[Result]], phase: str) -> Result:
    return by_phase.get(phase, [{}])[0]


def _phase(stem: str, result: Result) -> dict[str, Any]:
    return {
        "name": stem,
        "title": PHASES.get(phase_of(stem), stem),
        "failed": bool(result.get("failed")),
        "changed": bool(result.get("changed")),
        "duration_seconds": result.get("duration_seconds", 0.0),
        "msg": result.get("msg", ""),
    }


def _migration(result: Result) -> dict[str, Any]:
    keys = (
        "version",
        "name",
        "title",
        "state",
        "duration_seconds",
        "expected_minutes",
        "judged",
        "rows_moved",
        "batches",
    )
    return {
        **{key: result.get(key) for key in keys},
        "failed": bool(result.get("failed")),
        "steps": result.get("steps", []),
    }


def _checks(by_phase: Mapping[str, list[Result]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for result in by_phase.get("migration", []):
        found += [{"phase": f"migration {result.get('version')}", **check} for check in result.get("checks", [])]
    for result in by_phase.get("integrity", []):
        found += [{"phase": "integrity", **check} for check in result.get("results", [])]
    return found


def _trials(by_phase: Mapping[str, list[Result]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for phase in ("environment", "migration", "integrity"):
        for result in by_phase.get(phase, []):
            name = f"migration {result.get('version')}" if phase == "migration" else phase
            found += [{"phase": name, **trial} for trial in result.get("trials", [])]
    return found
