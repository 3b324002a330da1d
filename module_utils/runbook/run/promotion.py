"""Promotion: an environment may start if its predecessor has a green run of the same plan."""

from __future__ import annotations

import glob
import json
import os
from typing import Any

from ..errors import RunbookError

GREEN = ("complete", "complete_with_warnings")


def latest_reports(artifacts_directory: str, environment_name: str) -> dict[str, dict[str, Any]]:
    """Return the newest report of every host of an environment, by host name.

    Run ids sort by time, so the newest is the last by name. A run that was killed has no report and is not green:
    it is returned as a report with the state ``interrupted``.
    """
    latest: dict[str, dict[str, Any]] = {}
    for directory in sorted(glob.glob(os.path.join(artifacts_directory, environment_name, "*", "*", ""))):
        if _is_standalone(directory):
            continue
        host = os.path.basename(os.path.dirname(directory.rstrip("/")))
        latest[host] = _read(directory)
    return latest


def judge(reports: dict[str, dict[str, Any]], predecessor: str, plan_hash: str, accept_slow: bool) -> list[str]:
    """Return the reasons not to promote, one sentence each; an empty list means promote.

    Every host that the predecessor's newest reports name must be green with this plan hash.
    """
    if not reports:
        return [f"{predecessor} has no run at all"]
    hosts = sorted({host for report in reports.values() for host in report["run"].get("hosts", [])} | set(reports))
    reasons: list[str] = []
    for host in hosts:
        report = reports.get(host)
        if report is None:
            reasons.append(f"{predecessor}/{host} has no run")
        elif report["state"] not in GREEN:
            reasons.append(f"{predecessor}/{host}: its newest run {report['run']['id']} is {report['state']}")
        elif report["run"]["plan_hash"] != plan_hash:
            reasons.append(f"{predecessor}/{host}: its newest run {report['run']['id']} had another plan hash")
        elif report["state"] == "complete_with_warnings" and not accept_slow:
            slow = ", ".join(entry["name"] for entry in report["performance"] if entry.get("within_threshold") is False)
            reasons.append(
                f"{predecessor}/{host}: run {report['run']['id']} is complete with warnings "
                f"({slow or 'see its report'}); -e accept_slow=true accepts that and records it"
            )
    return reasons


def require_green(reasons: list[str], predecessor: str) -> None:
    """Refuse a promotion, with all reasons."""
    if reasons:
        raise RunbookError(
            f"Promotion refused: {'; '.join(reasons)}.",
            object_name=predecessor,
            next_command=f"ansible-playbook migrate.yml -i inventories/{predecessor} -e confirm=<its hosts>",
            facts={"reasons": reasons},
        )


def _is_standalone(directory: str) -> bool:
    """Return whether the directory has only a backup or snapshot taken outside a run: a run writes results first."""
    present = set(os.listdir(directory))
    return bool(present & {"backup", "snapshot"}) and not present & {"results", "report.json"}


def _read(directory: str) -> dict[str, Any]:
    path = os.path.join(directory, "report.json")
    if not os.path.exists(path):
        run_id = os.path.basename(directory.rstrip("/"))
        return {"state": "interrupted", "run": {"id": run_id, "plan_hash": "", "hosts": []}, "performance": []}
    with open(path, encoding="utf-8") as file:
        report: dict[str, Any] = json.load(file)
    return report
