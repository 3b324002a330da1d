"""What went wrong with a run last, and what to type after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .undone import half_undone

Result = dict[str, Any]

KEYS = ("phase", "msg", "object", "sqlstate", "left_as", "next_command")


def newest_failure(
    results: Mapping[str, Result], journal: Mapping[str, Any], reverse_results: Mapping[str, Result]
) -> dict[str, Any] | None:
    """Return the failure that matters now: the newest, so a failed restore hides the migration's that led to it.

    While a migration is half undone it is what stopped that, or none: nothing else matters before it is through.
    The cause of a rollback is no cause of the rollback's failure.

    :param results: what ``report.read_results`` returns: each has ``written_at``.
    :param reverse_results: what ``undone.read_reversed`` returns; a call that was killed has none.
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
        # One that failed before its first step is the newest too, until a later command leaves a result of its own.
        since = max((result.get("written_at", 0.0) for result in results.values()), default=0.0)
        failed += [result for result in ways_back if result.get("written_at", 0.0) > since]
    if not failed:
        return None
    newest = max(failed, key=lambda result: (result.get("written_at", 0.0), result["phase"]))
    return {key: newest.get(key, "") for key in KEYS}


def next_command(
    run: Mapping[str, Any], state: str, failure: Mapping[str, Any] | None, journal: Mapping[str, Any]
) -> str:
    """Return what to type."""
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
