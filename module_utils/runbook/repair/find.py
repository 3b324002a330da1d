"""Find the rows of an issue with the plan's query, and describe them by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import ROWS_SHOWN, read_query, rows_shown, rows_to_text, value
from ..database.values import as_text
from ..errors import RunbookError, driver_errors
from ..plain import to_plain
from ..visible import visible

Row = dict[str, Any]
Issue = Mapping[str, Any]

#: Rows shown of each issue in the list of all issues.
ROWS_IN_LIST = 2

#: Issues that playbooks/repair.yml finds without a query of the plan.
OF_ANY_PLAN = ("unfinished_objects", "takes_too_long")

LIST = "ansible-playbook playbooks/repair.yml"


def choose(plan: Mapping[str, Any], name: str) -> Issue:
    """Return the plan's issue of this name.

    :raises RunbookError: the plan has no such issue.
    """
    for issue in plan["repairs"]:
        if issue["issue"] == name:
            return issue  # type: ignore[no-any-return]
    known = ", ".join([*(issue["issue"] for issue in plan["repairs"]), *OF_ANY_PLAN])
    raise RunbookError(f"unknown issue {name}; choose one of {known}.", object_name=name, next_command=LIST)


def remedy_of(issue: Issue, name: str, command: str) -> Mapping[str, Any]:
    """Return the remedy of this name; without a name, the only remedy of the issue.

    :raises RunbookError: no name, but several remedies; or a name that the issue does not have.
    """
    remedies: Sequence[Mapping[str, Any]] = issue["remedies"]
    if not name and len(remedies) == 1:
        return remedies[0]
    for remedy in remedies:
        if remedy["name"] == name:
            return remedy
    known = "; ".join(f"remedy={remedy['name']}: {remedy['title']}" for remedy in remedies) or issue["action"]
    problem = f"unknown remedy {name} for {issue['issue']}" if name else f"{issue['issue']} has several remedies"
    raise RunbookError(
        f"{problem}: {known}.",
        object_name=issue["issue"],
        # Without apply, the command lists each remedy with its rows; the operator has to choose.
        next_command=command if remedies else LIST,
    )


def rows_found(cursor: Cursor, issue: Issue) -> list[Row]:
    """Return all rows that the issue's query finds, each with ``key`` and ``reason``."""
    doing = f"the query of {issue['issue']}"
    with driver_errors(doing, object_name=issue["find"]), as_text(cursor.connection) as reader:
        reader.execute(read_query(issue["find"]))
        rows: list[Row] = to_plain(rows_as_dicts(reader))
    if rows and not {"key", "reason"} <= set(rows[0]):
        raise RunbookError(
            f"the query {issue['find']} of a repair must return the columns key and reason.", object_name=issue["find"]
        )
    return rows


def rows_examined(cursor: Cursor, issue: Issue) -> int:
    """Return how many rows the issue's query examines."""
    with driver_errors(f"the count of {issue['issue']}", object_name=issue["examined"]):
        return int(value(cursor, read_query(issue["examined"])))


def only(rows: Sequence[Row], keys: Sequence[str], issue: str) -> list[Row]:
    """Return the rows with these keys; all rows if no keys are given.

    :raises RunbookError: the query does not find a key.
    """
    if not keys:
        return list(rows)
    unknown = set(keys) - {str(row["key"]) for row in rows}
    if unknown:
        raise RunbookError(
            f"{issue} does not find these keys now: {', '.join(map(visible, sorted(unknown)))}.",
            object_name=issue,
            next_command=f"{LIST} -e issue={issue}",
        )
    return [row for row in rows if str(row["key"]) in keys]


def diagnosis(issue: Issue, rows: Sequence[Row], examined: int) -> dict[str, Any]:
    """Return the rows found as result keys of a module."""
    return {
        "issue": issue["issue"],
        "title": issue["title"],
        "cause": issue["cause"],
        "in_the_way": issue["in_the_way"],
        "rows_examined": examined,
        "rows_found": len(rows),
        "reasons": dict(sorted(Counter(str(row["reason"]) for row in rows).items())),
        "rows": rows_shown(rows),
    }


def in_the_way(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the issues with rows that would stop the migration, with the number of rows."""
    return [f"{one['rows_found']} rows of {one['issue']}" for one in found if one["in_the_way"] and one["rows_found"]]


def to_lines(found: Mapping[str, Any], issue: Issue, command: str, rows_shown: int = ROWS_SHOWN) -> list[str]:
    """Return a diagnosis as lines, with the commands that repair it."""
    lines = [f"{found['issue']}: {found['rows_found']} of {found['rows_examined']} rows ({found['title']})"]
    if not found["rows_found"]:
        return lines
    lines += [f"cause: {issue['cause']}"]
    lines += [f"reason: {visible(reason)}: {number}" for reason, number in found["reasons"].items()]
    lines += rows_to_text(found["rows"][:rows_shown], found["rows_found"]).splitlines()
    if issue["action"]:
        lines.append(f"action: {issue['action']}")
    for remedy in issue["remedies"]:
        name = "" if len(issue["remedies"]) == 1 else f" -e remedy={remedy['name']}"
        list_of = " -e work_list=<the corrected list>" if remedy.get("work_list") else ""
        lines.append(f"next, {remedy['title']}: {command} -e issue={issue['issue']} -e apply=true{name}{list_of}")
    return lines
