"""The JSON schema of plan.yml."""

from __future__ import annotations

from ..database.lock_modes import LOCK_FORM
from .schema_parts import (
    ARCHIVE,
    CREATES,
    FILE,
    FUNCTION,
    NAME,
    REPAIR,
    RETIREMENT,
    ROLLBACK,
    ROWS,
    SNAPSHOT,
    TABLE,
    TEXT,
    TRIAL,
    TROUBLESHOOTING,
    UPDATES,
    VERSION,
    Schema,
    listing,
    mapping,
    optional,
)

SCALAR = {"type": ["string", "number", "boolean", "null"]}
OPERAND = {"type": ["string", "number"]}

#: A literal, or one relation to a number or to another column of the same row.
EXPECTATION: Schema = {
    "if": {"type": "object"},
    "then": {
        **mapping({}, {"equals": SCALAR, "at_least": OPERAND, "at_most": OPERAND, "contains": TEXT}),
        "minProperties": 1,
        "maxProperties": 1,
    },
    "else": SCALAR,
}

CHECK = mapping(
    {"name": NAME, "title": TEXT},
    {
        # Without it the offenders are counted: there must be none.
        "query": optional(FILE),
        "expect": {"type": "object", "additionalProperties": EXPECTATION, "default": {}},
        "counted_by": optional(NAME),
        "offenders": optional(FILE),
        "informational": {"type": "boolean", "default": False},
        # Start this check before the others: two sessions share the checks, and the longest must not start last.
        "asked_first": {"type": "boolean", "default": False},
    },
)

LOCK: Schema = {"type": "string", "pattern": f"^{LOCK_FORM}$"}

BACKFILL: Schema = mapping(
    {"function": FUNCTION, "table": TABLE, "key": NAME},
    {
        "batch_rows": {**ROWS, "default": 1000},
        "remaining": optional(FILE),
        # Rows that the function leaves aside when it is called with a limit; the next pass moves them.
        "left_aside": optional(mapping({"function": FUNCTION, "table": TABLE, "key": NAME}, {})),
        # One pass is enough: a later step moves rows that arrive meanwhile.
        "one_pass": {"type": "boolean", "default": False},
        # Called without arguments, in one transaction that takes the locks first, with the application stopped.
        "offline": optional(mapping({"function": FUNCTION}, {"locks": listing(LOCK)})),
    },
)
# Only that query proves that the rows left aside were moved.
BACKFILL["dependentRequired"] = {"left_aside": ["remaining"]}

MINUTES = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2}

MIGRATION = mapping(
    {"version": VERSION, "name": NAME, "title": TEXT},
    {
        "expected_minutes": {"type": "object", "additionalProperties": MINUTES, "default": {}},
        "progress": optional(FILE),
        "contract": {"type": "boolean", "default": False},
        "backfill": optional(BACKFILL),
        "revert_backfill": optional(BACKFILL),
        "checks": listing(CHECK),
    },
)

PRECONDITION = mapping(
    {"name": NAME, "query": FILE, "meaning": TEXT, "repair": TEXT},
    {"severity": {"enum": ["blocking", "warning", "information"], "default": "blocking"}, "until": optional(VERSION)},
)

REQUIREMENTS = mapping(
    {},
    {
        "server_versions": {
            **mapping({"minimum": {"type": "integer"}, "maximum": {"type": "integer"}}),
            "default": {"minimum": 15, "maximum": 18},
        },
        "extensions": listing(TEXT),
        # ``known``: constraints, indexes and triggers that the plan allows for, by name or start of definition.
        "tables": listing(mapping({"table": TABLE}, {"columns": listing(TEXT), "known": listing(TEXT)})),
        # true: the plan requires session_replication_role; optional: it has an alternative.
        "replica_role": {"enum": [True, False, "optional"], "default": False},
        "preconditions": listing(PRECONDITION),
    },
)

SETTING = mapping({"name": NAME, "type": {"enum": ["boolean", "integer", "text"]}, "meaning": TEXT})

PLAN = mapping(
    {
        "plan": NAME,
        "title": TEXT,
        "schemas": listing(NAME, minItems=1),
        "helper_schema": NAME,
        "protected_tables": listing(mapping({"table": TABLE, "key": NAME}), minItems=1),
        "volume": mapping(
            {
                "query": FILE,
                "classes": listing(mapping({"name": NAME}, {"below_rows": optional(ROWS)}), minItems=1),
            }
        ),
        "migrations": listing(MIGRATION, minItems=1),
    },
    {
        "settings": listing(SETTING),
        # Columns whose old values the change log keeps.
        "change_log": listing(mapping({"table": TABLE, "kept_columns": listing(NAME, minItems=1)})),
        # What the plan writes to existing tables; the survey compares the schema with it.
        "creates": listing(CREATES),
        "updates": listing(UPDATES),
        "new_application_after": optional(VERSION),
        "rollback": {**ROLLBACK, "default": {}},
        # Creates what the schemas depend on, in the empty database of a restore drill.
        "prerequisites": optional(FILE),
        "requirements": {**REQUIREMENTS, "default": {}},
        "snapshot": {**SNAPSHOT, "default": {}},
        "checks": listing(CHECK),
        "performance": listing(
            mapping(
                {"name": NAME, "query": FILE, "threshold_milliseconds": {"type": "number", "exclusiveMinimum": 0}},
                {"parameters": optional(FILE)},
            )
        ),
        "troubleshooting": listing(TROUBLESHOOTING),
        # The table for rows that repairs remove, and what creates it before the first migration.
        "archive": optional(ARCHIVE),
        "repairs": listing(REPAIR),
        "retirement": optional(RETIREMENT),
        "trials": listing(TRIAL),
    },
)
