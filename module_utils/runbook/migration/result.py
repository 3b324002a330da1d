"""Build the parts of pg_migration's result that need no database."""

from __future__ import annotations

import collections
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..plan.migration_file import Direction, Step
from ..verification.trials.judge import counts_to_text, to_few_lines
from ..verification.trials.outcome import Result


def expected_time(
    migration: Mapping[str, Any], volume_class: str, seconds: float, direction: Direction = "applied"
) -> dict[str, Any]:
    """Return seconds, expected minutes of the volume class ([] where unknown) and the judgement.

    The plan expects times for migrations only, not for reverts.
    """
    expected = migration.get("expected_minutes") or {} if direction == "applied" else {}
    minutes = list(expected.get(volume_class) or [])
    judged = "unknown"
    if minutes:
        judged = "faster" if seconds < minutes[0] * 60 else "slower" if seconds > minutes[1] * 60 else "within"
    return {"seconds": seconds, "volume_class": volume_class, "expected_minutes": minutes, "judged": judged}


def before_and_after(path: str, steps: Sequence[Step]) -> dict[str, str]:
    """Return what ``--diff`` shows: the SQL of the steps that run."""
    name = os.path.basename(path)
    sql = "\n".join(step.sql for step in steps)
    return {"before_header": name, "after_header": name, "before": "", "after": sql}


def summary(result: Mapping[str, Any], modal: str) -> str:
    """Return what was done as a sentence; ``modal`` is empty or ``would be ``."""
    ran = [step for step in result["steps"] if step["status"] in ("done", "already_present", "would_run")]
    before = len(result["steps"]) - len(ran)
    parts = [f"{len(ran)} steps"]
    parts += [f"{before} done before"] if before else []
    parts += [f"{result['rows_moved']} rows moved in {result['batches']} batches"] if result["batches"] else []
    by_status = collections.Counter(check["status"].replace("_", " ") for check in result["checks"])
    found = ", ".join(f"{number} {status}" for status, number in by_status.items())
    parts += [f"{len(result['checks'])} checks ({found})"] if result["checks"] else []
    parts += [counts_to_text([Result(**trial) for trial in result["trials"]])] if result["trials"] else []
    return f"migration {result['version']} {result['name']} {modal}{result['state']}: {', '.join(parts)}"


def to_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what was done as lines: each step, the rows, each check, the time and the expected time."""
    lines = [
        f"step {step['number']}: {step['name']}: {step['status'].replace('_', ' ')}"
        + (f" in {step['seconds']} s" if step["attempts"] else "")
        + (f", {step['attempts']} attempts" if step["attempts"] > 1 else "")
        + (f". {step['report']}" if step["report"] else "")
        for step in result["steps"]
    ]
    if result["batches"]:
        lines.append(f"{result['rows_moved']} rows moved in {result['batches']} batches")
    lines += [_publication_to_text(entry) for entry in result["publications"]]
    lines += [f"check: {check['title']}: {check['status'].replace('_', ' ')}" for check in result["checks"]]
    lines += to_few_lines([Result(**trial) for trial in result["trials"]])
    if not lines:
        return [f"already {result['state']}"]
    return [*lines, _time_to_text(result)] if ran(result) else lines


def ran(result: Mapping[str, Any]) -> bool:
    """Return whether this call completed a step."""
    return any(step["attempts"] for step in result["steps"])


def _publication_to_text(entry: Mapping[str, Any]) -> str:
    for_seconds = f" after {entry['seconds']} s" if "seconds" in entry else ""
    return f"publication {entry['publication']}: {entry['table']} {entry['outcome']}{for_seconds}"


def _time_to_text(result: Mapping[str, Any]) -> str:
    took = f"{result['seconds']} s"
    if result["state"] == "reverted":
        return took
    if not result["expected_minutes"]:
        return f"{took}; the plan gives no expected time for this volume"
    least, most = result["expected_minutes"]
    volume = result["volume_class"]
    verdicts = {"within": "as expected", "unknown": "not judged; expected"}
    verdict = verdicts.get(result["judged"], f"{result['judged']} than expected")
    return f"{took}, {verdict}: {least:g} to {most:g} minutes for a {volume} database"
