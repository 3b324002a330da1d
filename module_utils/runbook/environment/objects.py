"""Indexes and triggers on the plan's tables that do not do what they seem to."""

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

#: Triggers of the plan itself are left out: their functions live in its helper schema.
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
    """Invalid indexes: left by a build that failed, or by one that is still going on."""
    text = plan_text(view)
    for row in view.rows(INVALID_INDEXES, {"tables": view.changed_tables()}):
        ours = named_in(row["name"], text)
        yield Finding(
            "invalid_index",
            "information" if ours else "blocking",
            row["index"],
            f"the index {row['index']} on {row['table']} is not valid",
            "the plan builds an index of this name: the step that does will drop it and build it again"
            if ours
            else "every write maintains it and no query uses it; a build that is still going on holds its lock",
            "" if ours else f"DROP INDEX CONCURRENTLY {row['index']}, and build it again where it is needed",
            [row],
        )


def examine_triggers(view: View) -> Iterator[Finding]:
    """Triggers that fire, or do not, other than an ordinary one would."""
    moves_silently = bool(view.plan["requirements"]["replica_role"])
    for row in view.rows(TRIGGERS, {"tables": view.changed_tables(), "helper_schema": view.plan["helper_schema"]}):
        name, table = row["trigger"], row["table"]
        if row["enabled"] == "D":
            kind = "the trigger of a foreign key" if row["is_key"] else "the trigger"
            found = f"{kind} {name} on {table} is disabled"
            harm = "rows that break the key are accepted" if row["is_key"] else "what it should do is not done"
            yield Finding("trigger_disabled", "warning", table, found, harm, _enable(table, name, row["is_key"]), [row])
        elif moves_silently:
            mode = "ALWAYS" if row["enabled"] == "A" else "REPLICA"
            yield Finding(
                "trigger_conflict",
                "blocking",
                f"{table}.{name}",
                f"the trigger {name} on {table} is enabled as {mode}",
                "it fires for the rows that the plan moves under session_replication_role = replica, where the "
                "table's own triggers are meant to stay silent",
                f"ALTER TABLE {table} ENABLE TRIGGER {name}; after the migration: "
                f"ALTER TABLE {table} ENABLE {mode} TRIGGER {name}",
                [row],
            )


def examine_constraints(view: View) -> Iterator[Finding]:
    """Constraints that rows already in the table may break, other than those the plan leaves so."""
    text = plan_text(view)
    for row in view.rows(NOT_VALIDATED, {"tables": view.changed_tables()}):
        if named_in(row["constraint"], text):
            continue
        yield Finding(
            "constraint_not_validated",
            "warning",
            row["table"],
            f"the constraint {row['constraint']} on {row['table']} is not validated",
            "rows from before it may break it, and such a row cannot be updated, so it cannot be moved",
            f"ALTER TABLE {row['table']} VALIDATE CONSTRAINT {row['constraint']}",
            [row],
        )


def plan_text(view: View, versions: Collection[str] | None = None) -> str:
    """Return the text of the plan's migrations (all, or these), to tell the plan's own objects from others'."""
    files = [entry["file"] for entry in view.plan["migrations"] if versions is None or entry["version"] in versions]
    return "\n".join(read_query(path) for path in files if os.path.isfile(path))


def named_in(name: str, text: str) -> bool:
    """Whether a text holds a name as a whole word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _enable(table: str, trigger: str, is_key: bool) -> str:
    return f"as a superuser: ALTER TABLE {table} ENABLE TRIGGER {'ALL' if is_key else trigger}"
