"""The shape of what a plan says about repairs."""

from __future__ import annotations

from .parts import FILE, NAME, OPTIONAL_TEXT, TABLE, TEXT, VERSION, listing, mapping, optional

#: What an old application's write is, and what takes the compatibility with it away.
RETIREMENT = mapping({"after": VERSION, "old_writes": FILE, "file": FILE})

#: ``set_aside``: where a rollback keeps the table; the setup takes it in again.
ARCHIVE = mapping({"table": TABLE, "setup": FILE}, {"set_aside": optional(TABLE)})

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

REPAIR = mapping(
    {"issue": NAME, "title": TEXT, "cause": TEXT, "table": TABLE, "find": FILE, "examined": FILE},
    {
        "action": OPTIONAL_TEXT,
        "remedies": listing(REMEDY),
        # false: the migration goes on with such rows.
        "in_the_way": {"type": "boolean", "default": True},
    },
)

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

TROUBLESHOOTING = mapping(
    {"issue": TEXT, "when": WHEN, "cause": TEXT, "solution": TEXT, "action": TEXT},
    {"query": optional(FILE), "next_command": OPTIONAL_TEXT},
)
