"""Sampled inserts: what no query can foresee is tried with a few rows, in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import identifier
from ...database.queries import savepoint
from ...errors import RunbookError, from_driver
from ...verification.findings import Finding
from .constraints import INDEXES
from .evaluate import set_plan_settings
from .rows import given_columns, rows_query
from .sample_transaction import BUSY, sample_transaction, unaccepted_effects
from .subject import Subject
from .triggers import foreign_triggers
from .writes import Writes

#: Rows of a sample.
ROWS = 20


def examine_samples(subject: Subject) -> Iterator[Finding]:
    """Insert a few of the rows that the plan will create where only the server can say what becomes of them."""
    if subject.direction == "reverted" or not subject.view.pending:
        return
    triggers = foreign_triggers(subject)
    for writes in subject.writes.values():
        for entry in writes.created_by:
            mine = [row for row in triggers if row["table"] == writes.table and "INSERT" in row["fires"]]
            reasons = [f"the trigger {row['trigger']}" for row in mine] + _other_reasons(subject, writes)
            if not reasons:
                continue
            outside = (
                list(unaccepted_effects(subject, writes.table, "INSERT")) if mine and subject.view.sampling else []
            )
            yield from outside
            if not outside:
                yield _sampled(subject, writes.table, entry, reasons)


def _other_reasons(subject: Subject, writes: Writes) -> list[str]:
    """Return what makes a sample necessary beside triggers: exclusion constraints, domains, defaults of the session."""
    exclusions = [
        f"the constraint {row['constraint']}"
        for row in subject.view.rows(INDEXES, {"tables": [writes.table]})
        if row["is_exclusion"] or row["is_temporal"]
    ]
    domains = [
        f"the domain {column['type']} of {column['column']}"
        for column in subject.columns[writes.table]
        if column["is_domain"] and column["column"] in (writes.filled or ())
    ]
    return exclusions + domains + [f"the rule {name}" for name in subject.to_sample.get(writes.table, ())]


def _sampled(subject: Subject, table: str, entry: Mapping[str, Any], reasons: list[str]) -> Finding:
    because = ", ".join(reasons)
    if not subject.view.sampling:
        return _information(table, f"no row is inserted on trial here, in check mode; it would be for {because}")
    columns = given_columns(subject, table, entry)
    sample = _rows(subject, entry, columns)
    if not sample:
        return _information(table, f"there is no row to insert on trial; it would be for {because}")
    count = "1 row" if len(sample) == 1 else f"{len(sample)} rows"
    try:
        different = _try(subject, table, columns, sample)
    except psycopg2.Error as error:
        found = from_driver(error, f"sampled, {count} that the plan will create").msg
        where = (getattr(error.diag, "context", None) or "").splitlines()
        if error.pgcode in BUSY:
            return Finding(
                "sampled_rows",
                "warning",
                table,
                f"{found} Not examined.",
                "another session was in the way",
                "try again",
            )
        return Finding(
            "sampled_rows",
            "blocking",
            table,
            f"{found} {' '.join(where[:1])} To be examined were {because}",
            "the migration stops at the first such row, and what the application writes through the plan's triggers is "
            "refused in the same way",
            "correct what refuses the row, or take it away until the plan is through",
        )
    except RunbookError as error:
        return _information(table, f"no row was inserted on trial: {error.msg}")
    if different:
        return Finding(
            "sampled_rows",
            "blocking",
            table,
            f"sampled, {count} that the plan will create: {len(different)} did not become what the plan wrote. To be "
            f"examined were {because}",
            "the plan's checks compare these rows with what they were made from, and find them wrong",
            "let the trigger leave rows alone that are complete, or accept it where the plan's checks cannot see it",
            [{"row": key} for key in different],
        )
    return _information(
        table, f"sampled, {count} that the plan will create were accepted as they are, and rolled back, with {because}"
    )


def _information(table: str, found: str) -> Finding:
    harm = "none of these rows; others can be judged differently"
    return Finding("sampled_rows", "information", table, found, harm)


def _rows(subject: Subject, entry: Mapping[str, Any], columns: list[str]) -> list[Any]:
    """Return the first rows as JSON, read before anything is written."""
    cursor = subject.view.cursor
    with savepoint(cursor):
        set_plan_settings(subject, cursor)
        cursor.execute(
            sql.SQL("SELECT to_jsonb(s)::text FROM (SELECT {} FROM {} AS n LIMIT {}) AS s").format(
                sql.SQL(", ").join(sql.Identifier("n", name) for name in columns), rows_query(entry), sql.Literal(ROWS)
            )
        )
        return [row[0] for row in cursor.fetchall()]


def _try(subject: Subject, table: str, columns: list[str], sample: list[str]) -> list[str]:
    """Insert the rows, let deferred constraints look, and return the rows that are not as they were written."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    given = sql.SQL("jsonb_populate_recordset(NULL::{}, %s::jsonb)").format(identifier(table))
    rows = f"[{', '.join(sample)}]"
    with sample_transaction(subject) as cursor:
        cursor.execute(
            sql.SQL("INSERT INTO {t} ({n}) SELECT {n} FROM {g}").format(t=identifier(table), n=names, g=given),
            (rows,),
        )
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            sql.SQL(
                "SELECT left((to_jsonb(g))::text, 200) FROM (SELECT {n} FROM {g}) AS g"
                " WHERE NOT EXISTS (SELECT FROM (SELECT {n} FROM {t}) AS t WHERE to_jsonb(t) = to_jsonb(g) "
                "AND {key})"
            ).format(t=identifier(table), n=names, g=given, key=_same_key(subject, table, columns)),
            (rows,),
        )
        return [row[0] for row in cursor.fetchall()]


def _same_key(subject: Subject, table: str, columns: list[str]) -> sql.Composable:
    key = subject.key_of(table)
    if key not in columns:
        return sql.SQL("true")
    return sql.SQL("{} = {}").format(sql.Identifier("t", str(key)), sql.Identifier("g", str(key)))
