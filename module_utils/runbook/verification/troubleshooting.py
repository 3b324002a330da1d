"""Match what went wrong with the issues of the plan: cause, solution, action and next command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from ..database.connection import Cursor
from ..database.queries import ROWS_SHOWN, first_rows, read_query, rows_shown, rows_to_text, savepoint
from ..errors import from_driver
from ..report.report import phase_of

Result = Mapping[str, Any]
Issue = dict[str, Any]

#: The keys of ``when`` in the plan, and the text of a match.
SIGNS = {
    "checks": "the check {} failed",
    "findings": "environment verification found {}",
    "failed_migrations": "migration {} failed",
    "slow_migrations": "migration {} took longer than expected",
}


def signs(results: Mapping[str, Result]) -> dict[str, list[str]]:
    """Return the names of failed checks, findings, failed and slow migrations in a run's result files.

    :param results: what ``report.read_results`` returns.
    """
    seen: dict[str, list[str]] = {key: [] for key in SIGNS}
    for stem, result in results.items():
        phase = phase_of(stem)
        checks = [*(result.get("checks") or []), *(result.get("results") or [])]
        if phase in ("migration", "integrity"):
            seen["checks"] += [check["name"] for check in checks if check.get("status") == "failed"]
        if phase == "environment":
            found = result.get("findings") or []
            seen["findings"] += [entry["name"] for entry in found if entry["severity"] != "information"]
        if phase == "migration":
            seen["failed_migrations"] += [result["version"]] if result.get("failed") and "version" in result else []
            seen["slow_migrations"] += [result["version"]] if result.get("judged") == "slower" else []
    return seen


def issues(entries: Sequence[Mapping[str, Any]], seen: Mapping[str, Sequence[str]], target: str) -> list[Issue]:
    """Return the plan's issues that match at least one sign.

    :param entries: ``troubleshooting`` of the plan.
    :param target: the options that name the environment, for ``{target}`` in a command.
    """
    found: list[Issue] = []
    for entry in entries:
        why = [
            words.format(name)
            for key, words in SIGNS.items()
            for name in entry["when"].get(key) or []
            if name in seen.get(key, ())
        ]
        if why:
            parts = {key: entry[key] for key in ("issue", "cause", "solution", "action")}
            command = (entry.get("next_command") or "").replace("{target}", target)
            more = {"why": why, "query": "", "rows": [], "rows_total": 0, "error": "", "next_command": command}
            found.append({**parts, **more, "query_file": entry.get("query") or ""})
    return found


def add_rows(cursor: Cursor, issue: Issue) -> Issue:
    """Return an issue with the rows that its query returns now, or with the server's error."""
    if not issue["query_file"]:
        return issue
    text = read_query(issue["query_file"])
    try:
        with savepoint(cursor):
            rows, total = first_rows(cursor, text, ROWS_SHOWN)
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        return {**issue, "query": text, "error": from_driver(error, "the server refused the query").msg}
    return {**issue, "query": text, "rows": rows_shown(rows), "rows_total": total}


def to_text(found: Sequence[Issue]) -> str:
    """Return the issues as a numbered list, in the guide's format."""
    return "\n".join(_one_to_text(number, issue) for number, issue in enumerate(found, 1))


def _one_to_text(number: int, issue: Issue) -> str:
    lines = [f"{number}. Issue: {issue['issue']} ({'; '.join(issue['why'])})"]
    lines += [f"   {label}: {issue[label.lower()]}" for label in ("Cause", "Solution", "Action")]
    if issue["rows"]:
        lines.append(f"   Rows, {issue['rows_total']} in all:")
        lines += [f"   {line}" for line in rows_to_text(issue["rows"], issue["rows_total"]).splitlines()]
    if issue["error"]:
        lines.append(f"   Rows could not be read: {issue['error']}")
    if issue["next_command"]:
        lines.append(f"   Next: {issue['next_command']}")
    return "\n".join(lines)
