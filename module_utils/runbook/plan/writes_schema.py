"""The shape of what a plan says about the rows that it writes, in plan.yml."""

from __future__ import annotations

from typing import Any

from .document import PlanDocument
from .parts import FILE, NAME, TABLE, TEXT, VERSION, Schema, listing, mapping, optional

#: Rows that the plan adds. ``rows`` returns them before the first migration, one column per name in ``columns``.
CREATES: Schema = mapping(
    {"table": TABLE},
    {
        "columns": listing(TEXT),
        "rows": optional(FILE),
        # Rows that the plan took away are put back with all the columns that they had.
        "whole_rows": {"type": "boolean", "default": False},
    },
)

#: Columns that the plan changes. ``rows`` returns ``key``, the columns as they will be, and ``stays`` (false: deleted).
UPDATES: Schema = mapping(
    {"table": TABLE, "columns": listing(TEXT, minItems=1)},
    {
        "key": optional(NAME),
        "rows": optional(FILE),
        # No trigger of the table fires for it.
        "quiet": {"type": "boolean", "default": False},
        # Done once this version is applied; without one, it goes on (triggers).
        "version": optional(VERSION),
    },
)
UPDATES["dependentRequired"] = {"rows": ["key"]}


def check_writes(document: PlanDocument, plan: dict[str, Any]) -> None:
    """What is declared is complete, and names versions of the plan."""
    versions = {entry["version"] for entry in plan["migrations"]}
    for number, entry in enumerate(plan["creates"]):
        if bool(entry["columns"]) != bool(entry["rows"]):
            document.complain(("creates", number), "columns and rows go together: rows returns these columns")
        elif not entry["columns"] and not entry["whole_rows"]:
            document.complain(("creates", number), "give columns and rows, or whole_rows: true")
    for number, entry in enumerate(plan["updates"]):
        if entry["version"] is not None and entry["version"] not in versions:
            document.complain(("updates", number, "version"), f"{entry['version']} is not a version in migrations")
