"""Insert sample rows where no query can evaluate what the server does with them; roll back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import identifier
from ...errors import RunbookError, from_driver
from ...verification.findings import Finding, count_to_text
from .constraints import INDEXES
from .rows import given_columns
from .sample_transaction import BUSY, first_of_context, first_rows_of, sample_transaction, unaccepted_effects
from .subject import Subject
from .triggers import foreign_triggers
from .writes import Writes

#: Rows of a sample.
ROWS = 20


def examine_samples(subject: Subject) -> Iterator[Finding]:
    """Insert a few rows that the plan will create, where triggers, exclusion constraints or domains apply."""
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
    """Return the reasons for a sample other than triggers: exclusion constraints, domains, rules not evaluated."""
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
        return _information(table, f"check mode inserts no sample rows; a run does because of {because}")
    columns = given_columns(subject, table, entry)
    sample = first_rows_of(subject, entry, columns, "true", ROWS)
    if not sample:
        return _information(table, f"there is no row to sample for {because}")
    count = count_to_text(len(sample))
    try:
        different = _try(subject, table, columns, sample)
    except psycopg2.Error as error:
        found = from_driver(error, f"sampled, {count} that the plan will create").msg
        if error.pgcode in BUSY:
            busy = "another session blocked it"
            return Finding("sampled_rows", "warning", table, f"{found} Not examined.", busy, "try again")
        return Finding(
            "sampled_rows",
            "blocking",
            table,
            f"{found} {first_of_context(error)} Sampled because of {because}",
            "the migration stops at the first such row, and application writes that create such rows through the "
            "plan's triggers fail",
            "correct what refuses the row, or disable it until the plan is complete",
        )
    except RunbookError as error:
        return _information(table, f"no sample row was inserted: {error.msg}")
    if different:
        return Finding(
            "sampled_rows",
            "blocking",
            table,
            f"sampled, {count} that the plan will create: {len(different)} were changed on insert. Sampled because of "
            f"{because}",
            "the plan's checks compare these rows with their sources, and fail",
            "change the trigger to leave complete rows alone, or accept it if it affects no check of the plan",
            [{"row": key} for key in different],
        )
    return _information(
        table, f"sampled, {count} that the plan will create were accepted unchanged and rolled back, with {because}"
    )


def _information(table: str, found: str) -> Finding:
    harm = "none for these rows; others may be refused"
    return Finding("sampled_rows", "information", table, found, harm)


def _try(subject: Subject, table: str, columns: list[str], sample: list[str]) -> list[str]:
    """Insert the rows, check deferred constraints, and return the rows that differ from what was inserted."""
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
