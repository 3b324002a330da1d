"""Unknown unique indexes, CHECKs and keys, evaluated over the rows that the plan will write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import Cursor
from ...database.queries import savepoint
from ...errors import RunbookError, from_driver
from ...plain import to_plain
from ...plan.plan_settings import settings_of_plan
from ...verification.findings import Finding
from .constraints import Rule, rules_to_evaluate
from .questions import of_key, of_rule
from .references import keys_of_created_rows
from .subject import Subject
from .writes import Writes

LATER = (
    "what the application writes while the plan's triggers are there must meet it too, or its write is refused; "
    "the plan was written without it"
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a query found.

    :param examined: how many rows the rule is about.
    :param broken: how many of them break it, and the first of them.
    """

    examined: int = 0
    broken: int = 0
    rows: Sequence[dict[str, Any]] = ()
    error: str = ""


def examine_created_rows(subject: Subject) -> Iterator[Finding]:
    """Evaluate each rule that the plan does not know; nothing is asked where there is none."""
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
                f"{answer.broken} of {answer.examined} rows that the plan will create in {key.table} break the foreign "
                f"key {key.name}: {key.definition}",
                "the backfill stops at the first of them",
                "give each one the row it points at, or drop the key until the plan is through",
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
            subject.view.cursor.execute(statement)
            row: Any = subject.view.cursor.fetchone()
    except psycopg2.Error as error:
        if subject.view.cursor.connection.closed:
            raise
        return Answer(error=from_driver(error, "it could not be evaluated").msg)
    return Answer(row[0], row[1], [{"row": to_plain(key)} for key in row[2] or []])


def plan_settings(subject: Subject) -> dict[str, str]:
    """Return the plan's settings as parameters; none where one is missing, which is a finding of its own."""
    try:
        return settings_of_plan(subject.view.plan, subject.view.settings)
    except RunbookError:
        return {}


def set_plan_settings(subject: Subject, cursor: Cursor) -> None:
    """Set what the plan's queries read, for this transaction."""
    for name, value in plan_settings(subject).items():
        cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))


def _judged(rule: Rule, writes: Writes, answer: Answer | None) -> Finding:
    about = f"{rule.table}.{rule.name}"
    what = "index" if rule.kind == "unique_index" else "constraint"
    if answer is None or answer.error:
        why = answer.error if answer else "the plan declares no query for the rows that it writes there"
        # What a query cannot answer is sampled.
        sampled = answer is not None and bool(writes.created_by)
        return Finding(
            rule.kind,
            "warning" if sampled else "blocking",
            about,
            f"the plan does not know the {what} {rule.name} on {rule.table}: {rule.definition}; {why}",
            "a row of the plan that breaks it stops the migration, or the application's write that makes it",
            "see whether the rows of the plan can break it; drop it until the plan is through where they can",
        )
    if not answer.broken:
        return _unbroken(rule.kind, rule.table, rule.name, rule.definition, answer)
    return Finding(
        rule.kind,
        "blocking",
        about,
        f"{answer.broken} of {answer.examined} rows that the plan will write to {rule.table} break the {what} "
        f"{rule.name}: {rule.definition}",
        "the server refuses them: the migration stops at the first of them, and what the application writes "
        "through the plan's triggers is refused in the same way",
        f"change these rows, or drop the {what} until the plan is through",
        answer.rows,
        answer.broken,
    )


def _unbroken(kind: str, table: str, name: str, definition: str, answer: Answer) -> Finding:
    examined = "1 row" if answer.examined == 1 else f"{answer.examined} rows"
    result = (
        answer.error or f"evaluated over {examined} that the plan will write and those that are there: none breaks it"
    )
    return Finding(
        kind,
        "warning" if answer.examined or answer.error else "information",
        f"{table}.{name}",
        f"the plan does not know {name} on {table}: {definition}; {result}",
        LATER,
        "see whether the application's writes can break it",
    )
