"""Triggers whose trial could do what no rollback takes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...verification.findings import Finding
from .subject import Subject

#: What a function may not do in a sample: nothing takes it back.
REACHES_OUTSIDE = re.compile(r"\b(http\w*|dblink\w*|net\.|pg_background\w*|pg_notify_http\w*)\b", re.IGNORECASE)

BODIES = """
SELECT wanted.name AS function, p.prosrc AS body, l.lanpltrusted OR l.lanname IN ('internal', 'sql') AS trusted
  FROM unnest(%(functions)s::text[]) AS wanted (name)
  JOIN pg_catalog.pg_proc AS p ON p.oid = to_regproc(wanted.name)
  JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
"""


def reaching_outside(subject: Subject, triggers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the triggers whose function may reach outside the database."""
    bodies = {
        row["function"]: row for row in subject.view.rows(BODIES, {"functions": [row["function"] for row in triggers]})
    }
    return [
        row
        for row in triggers
        if (body := bodies.get(row["function"])) is None or not body["trusted"] or REACHES_OUTSIDE.search(body["body"])
    ]


def is_accepted(subject: Subject, table: str, row: Mapping[str, Any]) -> bool:
    """Whether the inventory lets this trigger run on trial."""
    about = f"{table}.{row['trigger']}"
    return any((entry["finding"], entry["object"]) == ("trigger_not_sampled", about) for entry in subject.view.accepted)


def not_sampled(table: str, row: Mapping[str, Any]) -> Finding:
    """Say that nothing was tried, and what lets it be."""
    return Finding(
        "trigger_not_sampled",
        "warning",
        f"{table}.{row['trigger']}",
        f"no row was inserted into {table} on trial: {row['function']} (language {row['language']}) may reach "
        "outside the database",
        "what it does cannot be rolled back; whether it refuses the rows of the plan is not known",
        f"read the function; where a trial does no harm, accept it: {{finding: trigger_not_sampled, object: "
        f"{table}.{row['trigger']}, reason: <why>}} in environment_verification_accept",
    )
