"""The shape of ``rollback`` in plan.yml."""

from __future__ import annotations

from .parts import FILE, NAME, OPTIONAL_TEXT, TABLE, TEXT, VERSION, listing, mapping, optional

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
    },
)
