"""Build the incident report of a run that failed or was rolled back, with its evidence, for a post-mortem."""

from __future__ import annotations

import datetime
import glob
import hashlib
import os
import shutil
from collections.abc import Mapping
from typing import Any

from ..plain import to_plain
from ..private_files import make_directories, make_private
from .failure import undone
from .report import PHASES, phase_of

#: States that are an incident.
STATES = ("refused", "failed", "interrupted", "rolled_back")

Incident = dict[str, Any]


def directory_of(report: Mapping[str, Any]) -> str:
    """Return the incident's directory: the same if the report is written again, a new one for each failure.

    Its name is the newest result's time. A retry overwrites results; the old ones are kept only here.
    """
    run_directory = report["run"]["directory"]
    paths = glob.glob(os.path.join(run_directory, "results", "*.json"))
    paths += glob.glob(os.path.join(run_directory, "rollback-*", "results", "*.json"))
    # Troubleshooting follows the report and is not part of the failure.
    newest = max((os.path.getmtime(path) for path in paths if "-troubleshooting" not in path), default=0.0)
    at = datetime.datetime.fromtimestamp(newest, datetime.UTC)
    return os.path.join(run_directory, "incidents", f"{at:%Y%m%dT%H%M%SZ}-{report['state']}")


def keep_evidence(run_directory: str, directory: str) -> list[dict[str, Any]]:
    """Copy the results to the incident, and list every file of the run with its size, and checksums of small files.

    Nothing removes an incident's directory: the next attempt creates a new one.
    """
    kept = os.path.join(directory, "results")
    make_directories(kept)
    for path in sorted(glob.glob(os.path.join(run_directory, "results", "*.json"))):
        shutil.copy2(path, os.path.join(kept, os.path.basename(path)))
    make_private(directory)
    others = os.path.join(run_directory, "incidents") + os.sep
    return [
        _file(os.path.join(folder, name), run_directory)
        for folder, _, names in sorted(os.walk(run_directory))
        if not folder.startswith(others) or folder.startswith(directory)
        for name in sorted(names)
        if not name.startswith((".", "incident.", "report."))
    ]


def build(report: Mapping[str, Any], journal: Mapping[str, Any]) -> Incident:
    """Return the incident without its evidence."""
    failure = report["failure"] or {}
    incident: Incident = {
        "incident_version": 1,
        "run": report["run"],
        "state": report["state"],
        "written_at": report["written_at"],
        "trigger": _trigger(report, failure),
        "timeline": _timeline(journal),
        "state_now": {
            "left_as": failure.get("left_as", "") if report["state"] != "rolled_back" else "unchanged",
            "meaning": _meaning(report, failure),
            "applied": _applied(report, journal),
            "next_command": report["next_command"],
        },
        # application_seconds: stopped by its hook; database_seconds: tables locked, or nobody could connect.
        "application_away": journal.get("application_away") or {},
        "rows_affected": {
            "moved": {entry["version"]: entry["rows_moved"] or 0 for entry in report["migrations"]},
            "restored": report["restore"],
        },
        "done": [
            {key: phase[key] for key in ("name", "title", "failed", "changed", "duration_seconds", "msg")}
            for phase in report["phases"]
        ],
        "reversed": report["reversed"],
        "findings": [entry for entry in report["findings"] if entry["severity"] == "blocking"],
        "failed_checks": [entry for entry in report["checks"] if entry["status"] == "failed"],
        "warnings": report["warnings"],
    }
    plain: Incident = to_plain(incident)
    return plain


def _trigger(report: Mapping[str, Any], failure: Mapping[str, Any]) -> dict[str, str]:
    if failure:
        keys = ("phase", "msg", "object", "sqlstate")
        return {**{key: str(failure.get(key, "")) for key in keys}, "title": _title(failure["phase"])}
    if report["state"] == "rolled_back":
        phase = "restore" if report["restore"] else "reverse"
        return {
            "phase": phase, "msg": "an operator rolled the run back", "object": "", "sqlstate": "",
            "title": PHASES[phase],
        }  # fmt: skip
    last = report["phases"][-1] if report["phases"] else {"name": "", "title": "before the first phase"}
    return {
        "phase": last["name"], "msg": f"the command ended without a result after: {last['title']}", "object": "",
        "sqlstate": "", "title": "Interrupted",
    }  # fmt: skip


def _title(stem: str) -> str:
    return PHASES.get(phase_of(stem), stem)


def _applied(report: Mapping[str, Any], journal: Mapping[str, Any]) -> list[str]:
    if report["state"] == "rolled_back":
        return []
    gone = undone(journal)
    return [entry["version"] for entry in report["migrations"] if not entry["failed"] and entry["version"] not in gone]


def _meaning(report: Mapping[str, Any], failure: Mapping[str, Any]) -> str:
    if report["state"] == "rolled_back" and not report["restore"]:
        return "the migrations were reverted one by one; later writes of the application were kept"
    if report["state"] == "rolled_back":
        return "the database is as it was before the run, verified against its snapshot"
    return {
        "unchanged": "the failed command changed nothing",
        "resumable": "completed work is kept; the run can be resumed",
        "needs_rollback": "the database is between two states",
    }.get(str(failure.get("left_as", "")), "committed work is kept; the run can be resumed")


def _timeline(journal: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return all dated entries of the journal, in order."""
    found: list[tuple[Any, str]] = []
    if journal.get("started_at"):
        found.append((journal["started_at"], "the run was opened"))
    if journal.get("finished_at"):
        found.append((journal["finished_at"], f"the run was closed: {journal.get('state', '')}"))
    events = journal.get("events", [])
    found += [(event["at"], f"{event['phase'].replace('_', ' ')}: {event['status']}") for event in events]
    # A later attempt, a revert or a restore supersedes a step, which was done nevertheless.
    for step in [*journal.get("superseded_steps", []), *journal.get("steps", [])]:
        name = f"{step['version']} {step['direction']}, step {step['step_number']} ({step['name']})"
        mark = f" (superseded {to_plain(step['superseded_at'])})" if step.get("superseded_at") else ""
        found.append((step["started_at"], f"{name} began{mark}"))
        if step["finished_at"]:
            rows = f", {step['rows_moved']} rows" if step["rows_moved"] is not None else ""
            found.append((step["finished_at"], f"{name} done{rows}{mark}"))
    for pause in journal.get("pauses", []):
        found.append((pause["started_at"], f"paused: {pause['reason']}"))
        if pause["ended_at"]:
            found.append((pause["ended_at"], f"resumed after a pause ({pause['signal']})"))
    for entry in journal.get("repairs", []):
        words = f"repair {entry['issue']} ({entry['remedy']}): {entry['rows_changed']} changed"
        found.append((entry["at"], f"{words}, {entry['rows_archived']} archived"))
    return [{"at": str(to_plain(at)), "what": what} for at, what in sorted(found, key=lambda entry: entry[0])]


def _file(path: str, run_directory: str) -> dict[str, Any]:
    size = os.path.getsize(path)
    digest = ""
    if size <= 1 << 20:  # a backup's files have their checksums in its manifest
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    return {"path": os.path.relpath(path, run_directory), "bytes": size, "sha256": digest}
