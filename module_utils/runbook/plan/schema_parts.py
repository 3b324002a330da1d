"""What the shape of plan.yml is put together from. ``format: plan-file`` marks paths relative to it."""

from __future__ import annotations

from typing import Any

from .document import PlanDocument

Schema = dict[str, Any]

NAME: Schema = {"type": "string", "pattern": "^[a-z_][a-z0-9_]{0,62}$"}
TEXT: Schema = {"type": "string", "minLength": 1}
FILE: Schema = {"type": "string", "format": "plan-file", "minLength": 1}
TABLE: Schema = {"type": "string", "pattern": r"^[^.\s]+\.[^.\s]+$"}
FUNCTION: Schema = TABLE
VERSION: Schema = {"type": "string", "pattern": "^[0-9]{14}$"}
RELATION: Schema = {"enum": ["equal", "at_least", "at_most", "any"]}
ROWS: Schema = {"type": "integer", "minimum": 1}
OPTIONAL_TEXT: Schema = {**TEXT, "default": ""}


def mapping(required: Schema, optional: Schema | None = None) -> Schema:
    """A mapping that knows all its keys: a misspelt one is an error."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def listing(items: Schema, **rules: Any) -> Schema:
    """A list; empty unless given, when it is optional."""
    return {"type": "array", "items": items, "default": [], **rules}


def optional(schema: Schema) -> Schema:
    """A part that is null in the loaded plan when plan.yml leaves it out."""
    return {**schema, "default": None}


FINGERPRINT = {
    **mapping(
        {"name": NAME, "key": NAME},
        {
            "table": TABLE,
            "query": FILE,
            "after_migration": {**RELATION, "default": "equal"},
            "by_application": optional(FILE),
        },
    ),
    "oneOf": [{"required": ["table"]}, {"required": ["query"]}],
}

COUNT = mapping(
    {"name": NAME, "query": FILE},
    {"after_migration": {**RELATION, "default": "any"}, "by_application": optional(FILE)},
)

SNAPSHOT = mapping(
    {},
    {
        "counts": listing(COUNT),
        "samples": listing(mapping({"name": NAME, "query": FILE})),
        "fingerprints": listing(FINGERPRINT),
    },
)


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


#: What an old application's write is, and what takes the compatibility with it away.
RETIREMENT = mapping({"after": VERSION, "old_writes": FILE, "file": FILE})

#: ``setup``: the step of the first migration that makes the table; a repair may come before.
#: ``set_aside``: where a rollback keeps the table; the setup takes it in again.
ARCHIVE = mapping({"table": TABLE, "setup": TEXT}, {"set_aside": optional(TABLE)})

#: Changes what `find` found, in one of three ways: archives it, runs a script, or takes a corrected work list back.
REMEDY = {
    **mapping(
        {"name": NAME, "title": TEXT},
        {
            "archive": {"const": True},
            "script": FILE,
            "work_list": mapping({"columns": listing(NAME, minItems=1), "check": FILE, "apply": FILE}),
        },
    ),
    "oneOf": [{"required": [way]} for way in ("archive", "script", "work_list")],
}

#: What points at an issue: a failed check, a finding, a migration that failed, or one over its expected minutes.
WHEN = {
    **mapping(
        {},
        {
            "checks": listing(NAME),
            "findings": listing(NAME),
            "failed_migrations": listing(VERSION),
            "slow_migrations": listing(VERSION),
        },
    ),
    "minProperties": 1,
}

REPAIR = mapping(
    {"issue": NAME, "title": TEXT, "cause": TEXT, "table": TABLE, "find": FILE, "examined": FILE},
    {
        "action": OPTIONAL_TEXT,
        # With both, the issue is one of troubleshooting as well: its rows are those of ``find``.
        "when": optional(WHEN),
        "solution": OPTIONAL_TEXT,
        "remedies": listing(REMEDY),
        # false: the migration goes on with such rows.
        "in_the_way": {"type": "boolean", "default": True},
    },
)

TROUBLESHOOTING = mapping(
    {"issue": TEXT, "when": WHEN, "cause": TEXT, "solution": TEXT, "action": TEXT},
    {"query": optional(FILE), "next_command": OPTIONAL_TEXT},
)


#: Statements that an application sends, with the role that sends them. ``retirement``: until the compatibility is gone.
TRIAL = mapping(
    {"name": NAME, "file": FILE, "role": TEXT, "by": {"enum": ["old", "new"]}},
    {
        "title": OPTIONAL_TEXT,
        "login_role": OPTIONAL_TEXT,
        "valid_from": optional(VERSION),
        "valid_until": optional({"type": "string", "pattern": "^([0-9]{14}|retirement)$"}),
        "settings": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
    },
)


def check_trials(document: PlanDocument, plan: dict[str, Any]) -> None:
    """A trial is valid between versions of the plan."""
    known = {None, "retirement", *(migration["version"] for migration in plan["migrations"])}
    for number, trial in enumerate(plan["trials"]):
        for key in ("valid_from", "valid_until"):
            if trial[key] not in known:
                document.complain(("trials", number, key), f"{trial[key]} is not a version in migrations")


ROLLBACK = mapping(
    {},
    {
        # Queries over ``recent``, the newest changes in the log: rows are writes of the new application. Asked before
        # ``below`` or a version before it is undone.
        "new_application_writes": listing(mapping({"below": VERSION, "query": FILE, "meaning": TEXT})),
        # Rows of the plan's tables that undoing one of these versions deletes, or (with columns) changes: a query of
        # their ``key``. Rows of other tables that reference them are found before anything is undone.
        "changes": listing(
            mapping(
                {"table": TABLE, "key": NAME, "rows": FILE, "versions": listing(VERSION, minItems=1)},
                {"columns": listing(NAME)},
            )
        ),
        # Foreign keys that the reverse looks after itself.
        "handled_keys": listing(mapping({"table": TABLE, "columns": listing(NAME, minItems=1)})),
        # Rows that a full reverse archives: ``what`` (in words) and ``key``.
        "archived_by_reverse": optional(FILE),
        "cannot_be_seen": OPTIONAL_TEXT,
        # Steps that the revert of every migration begins with: functions that several of them call.
        "functions": optional(FILE),
    },
)
