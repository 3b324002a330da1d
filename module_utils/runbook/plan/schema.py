"""The shape of plan.yml as a JSON schema. ``format: plan-file`` marks paths relative to the plan's directory."""

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
        # The order of the list is the report's. Of checks that share two sessions, the longest must not begin last.
        "asked_first": {"type": "boolean", "default": False},
    },
)

LOCK: Schema = {"type": "string", "pattern": f"^{LOCK_FORM}$"}

BACKFILL: Schema = mapping(
    {"function": FUNCTION, "table": TABLE, "key": NAME},
    {
        "batch_rows": {**ROWS, "default": 1000},
        "remaining": optional(FILE),
        # Rows that the function leaves aside while it is given a limit: walked next, by their own function.
        "left_aside": optional(mapping({"function": FUNCTION, "table": TABLE, "key": NAME}, {})),
        # Rows that come while it walks are not its own: a later step takes them.
        "one_pass": {"type": "boolean", "default": False},
        # Called without arguments, in one transaction, with the application stopped; its locks come first.
        "offline": optional(mapping({"function": FUNCTION}, {"locks": listing(LOCK)})),
    },
)
# Nobody else proves that what was left aside is moved.
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
        # ``known``: constraints, indexes and triggers that the plan allows for: a name, or how a definition begins.
        "tables": listing(mapping({"table": TABLE}, {"columns": listing(TEXT), "known": listing(TEXT)})),
        # true: the plan cannot do without session_replication_role; optional: it has another way.
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
        # What the plan writes to tables that are there already: the survey compares the schema with it.
        "creates": listing(CREATES),
        "updates": listing(UPDATES),
        "new_application_after": optional(VERSION),
        "rollback": {**ROLLBACK, "default": {}},
        # Makes what the schemas lean on, in the empty database of a restore drill.
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
        # Where rows are kept that could not stay, and what makes that table before the first migration.
        "archive": optional(ARCHIVE),
        "repairs": listing(REPAIR),
        "retirement": optional(RETIREMENT),
        "trials": listing(TRIAL),
    },
)
