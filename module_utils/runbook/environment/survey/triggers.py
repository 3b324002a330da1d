"""Find triggers and rules of the deployment that run when the plan writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...verification.findings import Finding
from ..objects import examine_triggers as examine_firing
from .subject import Subject, quoted
from .writes import Writes

#: Bits of tgtype.
EVENTS = {"INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}

#: Ordinary triggers of the deployment, without those of the plan, of foreign keys and of the change log.
TRIGGERS = """
SELECT wanted.name AS "table", t.tgname::text AS "trigger", t.tgtype::integer AS type,
       t.tgfoid::regproc::text AS function, l.lanname::text AS language, t.tgdeferrable AS deferrable
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = to_regclass(wanted.name)
  JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
 WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND n.nspname <> %(helper_schema)s
   AND t.tgname NOT LIKE 'runbook\\_change\\_log\\_%%'
 ORDER BY wanted.place, t.tgname
"""

RULES = """
SELECT wanted.name AS "table", r.rulename::text AS rule,
       CASE r.ev_type WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' WHEN '4' THEN 'DELETE' ELSE 'SELECT' END AS event,
       r.is_instead AS instead, r.ev_enabled::text AS enabled
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(wanted.name) AND c.relkind IN ('r', 'p', 'f')
  JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = c.oid
 WHERE r.ev_enabled <> 'D'
 ORDER BY wanted.place, r.rulename
"""


def examine_silenced_triggers(subject: Subject) -> Iterator[Finding]:
    """Find triggers that fire under the replica role, or never."""
    yield from examine_firing(subject.view)


def examine_row_triggers(subject: Subject) -> Iterator[Finding]:
    """Find triggers of the deployment that fire when the plan writes."""
    if subject.is_over:
        return
    by_table: dict[str, list[dict[str, Any]]] = {}
    for row in foreign_triggers(subject):
        by_table.setdefault(row["table"], []).append(row)
    for table, rows in by_table.items():
        names = ", ".join(row["trigger"] for row in rows)
        yield Finding(
            "trigger",
            "information",
            table,
            f"triggers of the deployment fire when the plan writes to {table}: {names}",
            "their functions run in the migrations too, and can change or refuse a row; where the plan declares "
            "the rows that it creates, sample rows are inserted and rolled back to test that",
            "",
            rows,
        )


def foreign_triggers(subject: Subject) -> list[dict[str, Any]]:
    """Return the triggers that fire when the plan writes; ``fires`` is their timing and events as in CREATE TRIGGER."""
    found = []
    for row in subject.view.rows(
        TRIGGERS, {"tables": subject.tables, "helper_schema": subject.view.plan["helper_schema"]}
    ):
        events = [event for event, bit in EVENTS.items() if row["type"] & bit]
        if not set(events) & set(_events(subject.writes[row["table"]])) or subject.knows(row["table"], row["trigger"]):
            continue
        moment = "BEFORE" if row["type"] & 2 else "AFTER"
        each = "ROW" if row["type"] & 1 else "STATEMENT"
        found.append(
            {
                "table": row["table"],
                "trigger": row["trigger"],
                "fires": f"{moment} {' OR '.join(events)} FOR EACH {each}",
                "function": row["function"],
                "language": row["language"],
            }
        )
    return found


def _events(writes: Writes) -> list[str]:
    given = {"INSERT": writes.inserts, "UPDATE": writes.updates and not writes.quiet, "DELETE": writes.deletes}
    return [event for event, happens in given.items() if happens]


def examine_rules(subject: Subject) -> Iterator[Finding]:
    """Find rules, which rewrite a statement before it runs."""
    for row in subject.view.rows(RULES, {"tables": subject.tables}):
        table, name = row["table"], row["rule"]
        yield Finding(
            "rule",
            "blocking",
            f"{table}.{name}",
            f"the rule {name} on {table} rewrites {row['event']} statements "
            f"({'INSTEAD' if row['instead'] else 'ALSO'})",
            "the server runs other statements than the plan sends: rows can be missing or duplicated, and RETURNING "
            "and row counts come from the rule",
            f"ALTER TABLE {table} DISABLE RULE {quoted(name)}; after the plan: "
            f"ALTER TABLE {table} ENABLE RULE {quoted(name)}",
            [row],
        )
