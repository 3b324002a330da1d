"""Find foreign keys from tables outside the plan, and keys on columns that the plan fills or changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import identifier
from ...database.queries import savepoint, value
from ...verification.findings import Finding, count_to_text
from .subject import Subject, quoted

#: Rows of a referencing table are counted up to this number.
COUNTED = 10000

ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

FROM_OUTSIDE = """
SELECT wanted.name AS "table", k.conname::text AS name, n.nspname || '.' || c.relname AS child,
       c.oid::regclass::text AS shown,
       k.confdeltype::text AS on_delete, k.confupdtype::text AS on_update, c.reltuples::bigint AS estimate,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_constraint AS k ON k.confrelid = to_regclass(wanted.name) AND k.contype = 'f' AND k.conparentid = 0
  JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE k.conrelid <> ALL (ARRAY(SELECT to_regclass(t.name)::oid FROM unnest(%(tables)s::text[]) AS t (name)
                                 WHERE to_regclass(t.name) IS NOT NULL))
 ORDER BY wanted.place, c.oid::regclass::text, k.conname
"""

FROM_WRITTEN = """
SELECT wanted.name AS "table", k.conname::text AS name, pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       k.confrelid::regclass::text AS parent,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY place)
           AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY place)
           AS parent_columns
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_constraint AS k ON k.conrelid = to_regclass(wanted.name) AND k.contype = 'f' AND k.conparentid = 0
 ORDER BY wanted.place, k.conname
"""


@dataclasses.dataclass(frozen=True)
class Key:
    """A foreign key of a written table.

    :param parent: quoted name of the referenced table.
    """

    table: str
    name: str
    definition: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


def examine_keys_from_outside(subject: Subject) -> Iterator[Finding]:
    """Find foreign keys of tables outside the plan, and their action when the plan deletes rows."""
    if subject.is_over:
        return
    harmless: list[dict[str, Any]] = []
    for row in subject.view.rows(FROM_OUTSIDE, {"tables": subject.tables}):
        table, action = row["table"], ACTIONS[row["on_delete"]]
        rows = _rows(subject, row)
        entry = {"key": row["name"], "from": row["shown"], "to": table, "on_delete": action, "rows": rows}
        if not subject.writes[table].deletes:
            harmless.append(entry)
            continue
        yield Finding(
            "key_from_outside",
            "warning",
            f"{row['shown']}.{row['name']}",
            f"{row['shown']} ({rows}) references {table}, ON DELETE {action}, and is not a table of the plan",
            "the plan deletes rows of that table, mainly in a rollback: that would delete or change the rows that "
            "reference them, or fail; the runbook does not back them up",
            f"check it before a rollback: {row['shown']} must not reference rows that the plan created",
            [entry],
        )
    if harmless:
        yield Finding(
            "key_from_outside",
            "information",
            ", ".join(dict.fromkeys(entry["to"] for entry in harmless)),
            f"{len(harmless)} foreign keys of tables outside the plan reference its tables",
            "none: the plan deletes no row that they reference",
            "",
            harmless,
        )


def _rows(subject: Subject, row: dict[str, Any]) -> str:
    """Return the number of rows as text: exact up to COUNTED, otherwise from the statistics."""
    estimate = f"about {row['estimate']} rows by its statistics" if row["estimate"] >= 0 else "rows unknown"
    if not row["readable"]:
        return f"{estimate}; this role may not read it"
    try:
        with savepoint(subject.view.cursor):
            few = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) AS few")
            counted = value(subject.view.cursor, few.format(identifier(row["child"]), sql.Literal(COUNTED + 1)))
    except psycopg2.Error:
        return estimate
    return f"more than {COUNTED} rows" if counted > COUNTED else count_to_text(counted)


def examine_keys_of_changed_columns(subject: Subject) -> Iterator[Finding]:
    """Find foreign keys on a column that the plan updates: the new values need parents too."""
    if subject.direction == "reverted":
        return
    for row in subject.view.rows(FROM_WRITTEN, {"tables": subject.tables}):
        table, rewritten = row["table"], subject.writes[row["table"]].rewritten
        if not rewritten & set(row["columns"]) or subject.knows(table, row["name"], row["definition"]):
            continue
        yield Finding(
            "key_on_changed_column",
            "blocking",
            f"{table}.{row['name']}",
            f"{row['name']} on {table} is a foreign key of a column whose values the plan changes: {row['definition']}",
            "the plan does not know it: the referenced table may lack the values that the plan writes, and the step "
            "that writes them fails",
            f"ALTER TABLE {table} DROP CONSTRAINT {quoted(row['name'])}; or accept it if both tables have these values",
        )


def keys_of_created_rows(subject: Subject) -> list[Key]:
    """Return the foreign keys that apply to new rows of the plan and that the plan does not know."""
    if subject.direction == "reverted" or subject.is_over:
        return []
    return [
        Key(
            row["table"],
            row["name"],
            row["definition"],
            tuple(row["columns"]),
            row["parent"],
            tuple(row["parent_columns"]),
        )
        for row in subject.view.rows(FROM_WRITTEN, {"tables": subject.tables})
        if (writes := subject.writes[row["table"]]).created_by
        and (writes.filled or frozenset()) & set(row["columns"])
        and not subject.knows(row["table"], row["name"], row["definition"])
    ]
