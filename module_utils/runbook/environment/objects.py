"""Find invalid indexes, constraints that are not validated, and triggers with an unusual firing mode."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator

from ..database.queries import read_query
from ..verification.findings import Finding
from .view import View

INVALID_INDEXES = """
SELECT i.indexrelid::regclass::text AS "index", x.relname AS name, c.oid::regclass::text AS "table",
       pg_get_indexdef(i.indexrelid) AS definition
FROM unnest(%(tables)s::text[]) AS wanted(name)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
JOIN pg_index AS i ON i.indrelid = c.oid
JOIN pg_class AS x ON x.oid = i.indexrelid
WHERE NOT (i.indisvalid AND i.indisready)
ORDER BY 1
"""

#: Without the plan's own triggers, whose functions are in its helper schema.
TRIGGERS = """
SELECT t.tgname AS "trigger", c.oid::regclass::text AS "table", t.tgenabled::text AS enabled,
       t.tgisinternal AS is_key, t.tgfoid::regproc::text AS function
FROM unnest(%(tables)s::text[]) AS wanted(name)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
JOIN pg_trigger AS t ON t.tgrelid = c.oid
JOIN pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE t.tgenabled <> 'O' AND n.nspname <> %(helper_schema)s
ORDER BY 2, 1
"""

NOT_VALIDATED = """
SELECT k.conname AS "constraint", c.oid::regclass::text AS "table", pg_get_constraintdef(k.oid) AS definition
FROM unnest(%(tables)s::text[]) AS wanted(name)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
JOIN pg_constraint AS k ON k.conrelid = c.oid
WHERE NOT k.convalidated AND k.contype IN ('c', 'f', 'n')
ORDER BY 2, 1
"""


def examine_indexes(view: View) -> Iterator[Finding]:
    """Find invalid indexes: a build failed, or is still running."""
    text = plan_text(view)
    for row in view.rows(INVALID_INDEXES, {"tables": view.changed_tables()}):
        ours = named_in(row["name"], text)
        yield Finding(
            "invalid_index",
            "information" if ours else "blocking",
            row["index"],
            f"the index {row['index']} on {row['table']} is not valid",
            "none: the plan's step that builds this index drops it and builds it again"
            if ours
            else "every write maintains it and no query uses it; a build that is still running holds a lock",
            "" if ours else f"DROP INDEX CONCURRENTLY {row['index']}, and build it again if it is needed",
            [row],
        )


def examine_triggers(view: View) -> Iterator[Finding]:
    """Find triggers that are disabled, or enabled as ALWAYS or REPLICA."""
    moves_silently = bool(view.plan["requirements"]["replica_role"])
    for row in view.rows(TRIGGERS, {"tables": view.changed_tables(), "helper_schema": view.plan["helper_schema"]}):
        name, table = row["trigger"], row["table"]
        if row["enabled"] == "D":
            kind = "the trigger of a foreign key" if row["is_key"] else "the trigger"
            found = f"{kind} {name} on {table} is disabled"
            harm = "rows that violate the key are accepted" if row["is_key"] else "its work is not done"
            yield Finding("trigger_disabled", "warning", table, found, harm, _enable(table, name, row["is_key"]), [row])
        elif moves_silently:
            mode = "ALWAYS" if row["enabled"] == "A" else "REPLICA"
            yield Finding(
                "trigger_conflict",
                "blocking",
                f"{table}.{name}",
                f"the trigger {name} on {table} is enabled as {mode}",
                "it fires for rows that the plan moves under session_replication_role = replica, where the table's "
                "own triggers should not fire",
                f"ALTER TABLE {table} ENABLE TRIGGER {name}; after the migration: "
                f"ALTER TABLE {table} ENABLE {mode} TRIGGER {name}",
                [row],
            )


def examine_constraints(view: View) -> Iterator[Finding]:
    """Find constraints that existing rows may violate, without those that the plan leaves so."""
    text = plan_text(view)
    for row in view.rows(NOT_VALIDATED, {"tables": view.changed_tables()}):
        if named_in(row["constraint"], text):
            continue
        yield Finding(
            "constraint_not_validated",
            "warning",
            row["table"],
            f"the constraint {row['constraint']} on {row['table']} is not validated",
            "older rows may violate it; such a row cannot be updated, and so cannot be moved",
            f"ALTER TABLE {row['table']} VALIDATE CONSTRAINT {row['constraint']}",
            [row],
        )


def plan_text(view: View, versions: Collection[str] | None = None) -> str:
    """Return the text of the plan's migrations (all, or these), which names the plan's own objects."""
    files = [entry["file"] for entry in view.plan["migrations"] if versions is None or entry["version"] in versions]
    return "\n".join(read_query(path) for path in files if os.path.isfile(path))


def named_in(name: str, text: str) -> bool:
    """Return whether a text contains a name as a whole word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _enable(table: str, trigger: str, is_key: bool) -> str:
    return f"as a superuser: ALTER TABLE {table} ENABLE TRIGGER {'ALL' if is_key else trigger}"
