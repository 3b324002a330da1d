"""The transaction for sample rows: with the application's search_path and a short lock_timeout, always rolled back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import Cursor, SessionSettings, session
from ...database.queries import savepoint
from ...verification.findings import Finding
from ...verification.trials.code_scan import scan
from ...verification.trials.reach import Reach
from .evaluate import plan_settings, set_plan_settings
from .rows import rows_query
from .subject import Subject

#: Another session blocked the sample: no answer.
BUSY = ("55P03", "40P01", "40001", "57014")


@contextmanager
def sample_transaction(subject: Subject) -> Iterator[Cursor]:
    """Open a session with one transaction that is always rolled back."""
    wanted = SessionSettings(
        application_name="runbook sample",
        statement_timeout_seconds=2,
        lock_timeout_seconds=0.1,
        settings=plan_settings(subject),
    )
    with session(subject.view.options, wanted) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        try:
            # Triggers of the deployment must run with the application's search_path, not ours.
            cursor.execute("SET LOCAL search_path TO DEFAULT")
            yield cursor
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")


#: Findings whose acceptance allows a sample; the second allows trials too.
ACCEPTED_BY = ("trigger_not_sampled", "trial_not_run")

BODIES = """
SELECT wanted.name AS function, coalesce(p.prosrc, '') AS body,
       coalesce(l.lanpltrusted OR l.lanname = 'internal', false) AS trusted
  FROM unnest(%(functions)s::text[]) AS wanted (name)
  LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = to_regproc(wanted.name)
  LEFT JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
"""


def unaccepted_effects(subject: Subject, table: str, event: str) -> Iterator[Finding]:
    """Yield a finding for each function or table that a write can reach and the inventory does not accept."""
    accepted = {entry["object"] for entry in subject.view.accepted if entry["finding"] in ACCEPTED_BY}
    for danger in Reach(subject.view.cursor).dangers_of_write(table, event):
        if danger.object in accepted:
            continue
        yield Finding(
            "trigger_not_sampled",
            "warning",
            danger.object,
            f"{event} on {table} was not tried: it can reach {danger.object} ({danger.why})",
            "its effects cannot be rolled back; whether a trigger refuses the rows of the plan is not known",
            "read it; if running it is harmless, accept it in database_accepted_findings: "
            f"{{finding: trigger_not_sampled, object: '{danger.object}', reason: <why>}}",
        )


def first_rows_of(
    subject: Subject, entry: Mapping[str, Any], columns: Sequence[str], condition: str, limit: int
) -> list[str]:
    """Return the first rows of a declaration as JSON, read before anything is written.

    :param condition: of the rows, named ``n``.
    """
    cursor = subject.view.cursor
    with savepoint(cursor):
        set_plan_settings(subject, cursor)
        cursor.execute(
            sql.SQL("SELECT to_jsonb(s)::text FROM (SELECT {} FROM {} AS n WHERE {} LIMIT {}) AS s").format(
                sql.SQL(", ").join(sql.Identifier("n", name) for name in columns),
                rows_query(entry),
                sql.SQL(condition),
                sql.Literal(limit),
            )
        )
        return [row for (row,) in cursor.fetchall()]


def first_of_context(error: psycopg2.Error) -> str:
    """Return the first line of an error's context: the function that raised it."""
    return next(iter((error.diag.context or "").splitlines()), "")


def reaching_outside(subject: Subject, rows: list[dict[str, Any]]) -> list[str]:
    """Return the functions of event triggers that may act outside the transaction."""
    bodies = subject.view.rows(BODIES, {"functions": [row["function"] for row in rows]})
    return [row["function"] for row in bodies if not row["trusted"] or scan(row["body"]).outside]
