"""Update sample rows as the plan will, to test the triggers of the deployment; roll back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import Cursor, identifier
from ...database.queries import savepoint
from ...errors import RunbookError, from_driver
from ...verification.findings import Finding, count_to_text
from .rows import given_columns
from .sample_transaction import BUSY, first_of_context, first_rows_of, sample_transaction, unaccepted_effects
from .subject import Subject
from .triggers import foreign_triggers
from .writes import is_named

#: Rows of a sample, which are locked briefly.
ROWS = 5


def examine_sampled_updates(subject: Subject) -> Iterator[Finding]:
    """Update a few rows as the plan will, where triggers of the deployment fire."""
    if subject.direction == "reverted" or not subject.view.pending or not subject.view.sampling:
        return
    triggers = foreign_triggers(subject)
    for writes in subject.writes.values():
        mine = [row for row in triggers if row["table"] == writes.table and "UPDATE" in row["fires"]]
        for entry in writes.updated_by:
            columns = given_columns(subject, writes.table, entry)
            if not mine or entry["quiet"] or not columns:
                continue
            outside = list(unaccepted_effects(subject, writes.table, "UPDATE"))
            yield from outside
            if not outside:
                names = ", ".join(row["trigger"] for row in mine)
                yield from _sampled(subject, writes.table, entry, columns, names)


def _sampled(
    subject: Subject, table: str, entry: Mapping[str, Any], columns: list[str], names: str
) -> Iterator[Finding]:
    sample = first_rows_of(subject, entry, list(dict.fromkeys([entry["key"], *columns])), "n.stays", ROWS)
    if not sample:
        return
    count = count_to_text(len(sample))
    try:
        with sample_transaction(subject) as cursor:
            _try(subject, cursor, table, entry, columns, sample)
    except psycopg2.Error as error:
        found = from_driver(error, f"sampled, {count} that the plan will update").msg
        yield Finding(
            "sampled_updates",
            "warning" if error.pgcode in BUSY else "blocking",
            table,
            f"{found} {first_of_context(error)}" + (" Not examined." if error.pgcode in BUSY else ""),
            "the step that updates these rows fails in the same way",
            f"correct what refuses the rows ({names}), or disable it until the plan is complete",
        )
    except RunbookError as error:
        yield Finding("sampled_updates", "information", table, f"no sample row was updated: {error.msg}", "none")
    else:
        yield Finding(
            "sampled_updates",
            "information",
            table,
            f"sampled, {count} that the plan will update were accepted and rolled back, with {names}",
            "none for these rows; others may be refused",
        )


def _try(
    subject: Subject, cursor: Cursor, table: str, entry: Mapping[str, Any], columns: list[str], sample: list[str]
) -> None:
    """Update as the plan will; where a key that the plan drops still refuses the new values, with the old ones."""
    given = f"[{', '.join(sample)}]"
    parts = {
        "table": identifier(table),
        "key": sql.Identifier(entry["key"]),
        "given": sql.SQL("jsonb_populate_recordset(NULL::{}, %s::jsonb)").format(identifier(table)),
    }
    cursor.execute(
        sql.SQL(
            "SELECT FROM {table} AS t WHERE t.{key} IN (SELECT g.{key} FROM {given} AS g) FOR NO KEY UPDATE SKIP LOCKED"
        ).format(**parts),
        (given,),
    )
    try:
        with savepoint(cursor):
            _update(cursor, parts, columns, given, "g")
    except psycopg2.errors.ForeignKeyViolation as error:
        # A migration drops this key before it writes the values.
        if not is_named(error.diag.constraint_name or "", subject.text):
            raise
        _update(cursor, parts, columns, given, "t")


def _update(cursor: Cursor, parts: Mapping[str, sql.Composable], columns: list[str], given: str, source: str) -> None:
    values = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(source, name)) for name in columns
    )
    statement = sql.SQL("UPDATE {table} AS t SET {values} FROM {given} AS g WHERE t.{key} = g.{key}")
    cursor.execute(statement.format(**parts, values=values), (given,))
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
