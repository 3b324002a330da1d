"""Evaluate unknown unique indexes, CHECKs and foreign keys over the rows that the plan will write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import Cursor
from ...database.queries import row, savepoint
from ...errors import RunbookError, from_driver
from ...plain import to_plain
from ...plan.plan_settings import settings_of_plan
from ...verification.findings import Finding, count_to_text
from .constraints import Rule, rules_to_evaluate
from .references import keys_of_created_rows
from .subject import Subject
from .violation_queries import of_key, of_rule
from .writes import Writes

LATER = (
    "rows that the plan's triggers write for the application must satisfy it too, or the application's write fails; "
    "the plan was written without it"
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to one query.

    :param examined: number of rows to which the rule applies.
    :param broken: number of rows that violate it; ``rows`` are the first of them.
    """

    examined: int = 0
    broken: int = 0
    rows: Sequence[dict[str, Any]] = ()
    error: str = ""


def examine_created_rows(subject: Subject) -> Iterator[Finding]:
    """Evaluate each rule and foreign key that the plan does not know."""
    for rule in rules_to_evaluate(subject):
        writes = subject.writes[rule.table]
        statement = of_rule(subject, writes, rule)
        answer = ask(subject, statement) if statement else None
        if answer and answer.error and writes.created_by:
            subject.to_sample.setdefault(rule.table, []).append(rule.name)
        yield _judged(rule, writes, answer)
    for key in keys_of_created_rows(subject):
        answer = ask(subject, of_key(subject, key))
        if answer.broken:
            yield Finding(
                "key_of_created_rows",
                "blocking",
                f"{key.table}.{key.name}",
                f"{answer.broken} of {answer.examined} rows that the plan will create in {key.table} violate the "
                f"foreign key {key.name}: {key.definition}",
                "the backfill stops at the first of them",
                "insert the missing parents, or drop the key until the plan is complete",
                answer.rows,
                answer.broken,
            )
        else:
            yield _unbroken("key_of_created_rows", key.table, key.name, key.definition, answer)


def ask(subject: Subject, statement: sql.Composable) -> Answer:
    """Run a query that returns ``examined``, ``broken`` and ``keys``, with the plan's settings."""
    try:
        with savepoint(subject.view.cursor):
            set_plan_settings(subject, subject.view.cursor)
            found: Any = row(subject.view.cursor, statement)
    except psycopg2.Error as error:
        if subject.view.cursor.connection.closed:
            raise
        return Answer(error=from_driver(error, "it could not be evaluated").msg)
    return Answer(found[0], found[1], [{"row": to_plain(key)} for key in found[2] or []])


def plan_settings(subject: Subject) -> dict[str, str]:
    """Return the plan's settings as parameters; none where one is missing, which is a separate finding."""
    try:
        return settings_of_plan(subject.view.plan, subject.view.settings)
    except RunbookError:
        return {}


def set_plan_settings(subject: Subject, cursor: Cursor) -> None:
    """Set the plan's settings for this transaction."""
    for name, value in plan_settings(subject).items():
        cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))


def _judged(rule: Rule, writes: Writes, answer: Answer | None) -> Finding:
    about = f"{rule.table}.{rule.name}"
    what = "index" if rule.kind == "unique_index" else "constraint"
    if answer is None or answer.error:
        why = answer.error if answer else "the plan declares no query for the rows that it writes there"
        # Where the query failed, sample rows are inserted instead.
        sampled = answer is not None and bool(writes.created_by)
        return Finding(
            rule.kind,
            "warning" if sampled else "blocking",
            about,
            f"the plan does not know the {what} {rule.name} on {rule.table}: {rule.definition}; {why}",
            "a row of the plan that violates it stops the migration, or the application's write that creates it",
            "check whether the plan's rows can violate it; if they can, drop it until the plan is complete",
        )
    if not answer.broken:
        return _unbroken(rule.kind, rule.table, rule.name, rule.definition, answer)
    return Finding(
        rule.kind,
        "blocking",
        about,
        f"{answer.broken} of {answer.examined} rows that the plan will write to {rule.table} violate the {what} "
        f"{rule.name}: {rule.definition}",
        "the migration stops at the first of them, and application writes that create such rows through the plan's "
        "triggers fail",
        f"change these rows, or drop the {what} until the plan is complete",
        answer.rows,
        answer.broken,
    )


def _unbroken(kind: str, table: str, name: str, definition: str, answer: Answer) -> Finding:
    examined = count_to_text(answer.examined)
    result = answer.error or f"evaluated over {examined} that the plan will write and existing rows: none violates it"
    return Finding(
        kind,
        "warning" if answer.examined or answer.error else "information",
        f"{table}.{name}",
        f"the plan does not know {name} on {table}: {definition}; {result}",
        LATER,
        "check whether the application's writes can violate it",
    )
