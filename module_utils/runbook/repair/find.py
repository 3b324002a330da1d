"""What is wrong now: the rows that an issue's query finds, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import ROWS_SHOWN, read_query, rows_shown, rows_to_text
from ..database.values import as_text
from ..errors import RunbookError, driver_errors
from ..plain import to_plain
from ..visible import visible

Row = dict[str, Any]
Issue = Mapping[str, Any]

#: Rows shown of each issue where all are listed.
ROWS_IN_LIST = 2

#: Issues that playbooks/repair.yml finds without a query of the plan.
OF_ANY_PLAN = ("unfinished_objects", "takes_too_long")

LIST = "ansible-playbook playbooks/repair.yml"


def choose(plan: Mapping[str, Any], name: str) -> Issue:
    """Return the plan's issue of this name.

    :raises RunbookError: there is none.
    """
    for issue in plan["repairs"]:
        if issue["issue"] == name:
            return issue  # type: ignore[no-any-return]
    known = ", ".join([*(issue["issue"] for issue in plan["repairs"]), *OF_ANY_PLAN])
    raise RunbookError(f"issue={name} is not known; there are {known}.", object_name=name, next_command=LIST)


def remedy_of(issue: Issue, name: str, command: str) -> Mapping[str, Any]:
    """Return the remedy that was asked for; an issue with a single one needs no name.

    :raises RunbookError: none, or one that the issue does not have.
    """
    remedies: Sequence[Mapping[str, Any]] = issue["remedies"]
    if not name and len(remedies) == 1:
        return remedies[0]
    for remedy in remedies:
        if remedy["name"] == name:
            return remedy
    known = "; ".join(f"remedy={remedy['name']}: {remedy['title']}" for remedy in remedies) or issue["action"]
    problem = f"remedy={name} is not known for {issue['issue']}" if name else f"{issue['issue']} has several remedies"
    raise RunbookError(
        f"{problem}: {known}.",
        object_name=issue["issue"],
        # Which of them is a decision, and one may need a file: without apply each is listed with its rows.
        next_command=command if remedies else LIST,
    )


def rows_found(cursor: Cursor, issue: Issue) -> list[Row]:
    """Return every row that the issue's query finds: each has a ``key`` and a ``reason``."""
    doing = f"the query of {issue['issue']}"
    with driver_errors(doing, object_name=issue["find"]), as_text(cursor.connection) as reader:
        reader.execute(read_query(issue["find"]))
        rows: list[Row] = to_plain(rows_as_dicts(reader))
    if rows and not {"key", "reason"} <= set(rows[0]):
        raise RunbookError("a repair's query must return key and reason.", object_name=issue["find"])
    return rows


def rows_examined(cursor: Cursor, issue: Issue) -> int:
    """Return how many rows the issue's query looks at."""
    with driver_errors(f"the count of {issue['issue']}", object_name=issue["examined"]):
        cursor.execute(read_query(issue["examined"]))
        row: Any = cursor.fetchone()
    return int(row[0])


def only(rows: Sequence[Row], keys: Sequence[str], issue: str) -> list[Row]:
    """Return the rows of these keys; all where none are given.

    :raises RunbookError: a key that the query does not find.
    """
    if not keys:
        return list(rows)
    unknown = set(keys) - {str(row["key"]) for row in rows}
    if unknown:
        raise RunbookError(
            f"keys that {issue} does not find now: {', '.join(map(visible, sorted(unknown)))}.",
            object_name=issue,
            next_command=f"{LIST} -e issue={issue}",
        )
    return [row for row in rows if str(row["key"]) in keys]


def diagnosis(issue: Issue, rows: Sequence[Row], examined: int) -> dict[str, Any]:
    """Return what was found, for a result."""
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
    """Name the issues with rows that would stop the migration."""
    return [f"{one['rows_found']} rows of {one['issue']}" for one in found if one["in_the_way"] and one["rows_found"]]


def to_lines(found: Mapping[str, Any], issue: Issue, command: str, rows_shown: int = ROWS_SHOWN) -> list[str]:
    """Return a diagnosis with the commands that repair it, in lines."""
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
