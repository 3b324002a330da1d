"""Parts of the JSON schema of plan.yml. ``format: plan-file`` marks paths relative to the plan's directory."""

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

#: For errors: what a value should have been.
A_VERSION = "a version in migrations"


def mapping(required: Schema, optional: Schema | None = None) -> Schema:
    """Return the schema of a mapping in which an unknown key is an error."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def listing(items: Schema, **rules: Any) -> Schema:
    """Return the schema of a list, empty by default."""
    return {"type": "array", "items": items, "default": [], **rules}


def optional(schema: Schema) -> Schema:
    """Return a schema whose default is null."""
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
        # Rows that the plan deleted are inserted again with all their columns.
        "whole_rows": {"type": "boolean", "default": False},
    },
)

#: Columns that the plan changes. ``rows`` returns ``key``, the columns' new values, and ``stays`` (false: deleted).
UPDATES: Schema = mapping(
    {"table": TABLE, "columns": listing(TEXT, minItems=1)},
    {
        "key": optional(NAME),
        "rows": optional(FILE),
        # The update fires no trigger of the table.
        "quiet": {"type": "boolean", "default": False},
        # The version that makes the update; null where triggers keep making it.
        "version": optional(VERSION),
    },
)
UPDATES["dependentRequired"] = {"rows": ["key"]}


def check_writes(document: PlanDocument, plan: dict[str, Any]) -> None:
    """Require complete declarations that name versions of the plan."""
    versions = {entry["version"] for entry in plan["migrations"]}
    for number, entry in enumerate(plan["creates"]):
        if bool(entry["columns"]) != bool(entry["rows"]):
            document.add_error(("creates", number), "columns and rows go together: rows returns these columns")
        elif not entry["columns"] and not entry["whole_rows"]:
            document.add_error(("creates", number), "give columns and rows, or whole_rows: true")
    for number, entry in enumerate(plan["updates"]):
        document.require(("updates", number, "version"), entry["version"], versions, A_VERSION)


#: ``old_writes`` finds writes of the old application; ``file`` removes the compatibility with it.
RETIREMENT = mapping({"after": VERSION, "old_writes": FILE, "file": FILE})

#: ``setup``: the step of the first migration that creates the table, since a repair may run before it.
#: ``set_aside``: where a rollback keeps the table; the setup uses it again.
ARCHIVE = mapping({"table": TABLE, "setup": TEXT}, {"set_aside": optional(TABLE)})

#: Repairs what `find` found: archives it, runs a script, or applies a corrected work list.
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

#: Signs of an issue: a failed check, a finding, a failed migration, or one that exceeds its expected minutes.
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


#: Statements of an application and their role. ``retirement``: valid until the compatibility is retired.
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
    """Require that the trials' versions are in the plan."""
    known = {"retirement", *(migration["version"] for migration in plan["migrations"])}
    for number, trial in enumerate(plan["trials"]):
        for key in ("valid_from", "valid_until"):
            document.require(("trials", number, key), trial[key], known, A_VERSION)


ROLLBACK = mapping(
    {},
    {
        # Queries over ``recent``, the newest changes in the log; they return writes of the new application. Run before
        # ``below`` or an earlier version is reverted.
        "new_application_writes": listing(mapping({"below": VERSION, "query": FILE, "meaning": TEXT})),
        # Rows that reverting one of these versions deletes or (with columns) changes; ``rows`` returns their ``key``.
        # The runbook finds rows of other tables that reference them before it reverts anything.
        "changes": listing(
            mapping(
                {"table": TABLE, "key": NAME, "rows": FILE, "versions": listing(VERSION, minItems=1)},
                {"columns": listing(NAME)},
            )
        ),
        # Foreign keys that the reverse handles itself.
        "handled_keys": listing(mapping({"table": TABLE, "columns": listing(NAME, minItems=1)})),
        # Rows that a full reverse archives: ``what`` (text) and ``key``.
        "archived_by_reverse": optional(FILE),
        "cannot_be_seen": OPTIONAL_TEXT,
        # Steps that the revert of every migration begins with: functions that several of them call.
        "functions": optional(FILE),
    },
)
