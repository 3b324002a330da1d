"""A transaction for rows on trial: it sees what the application sees, waits for nobody, and is rolled back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...database.connection import Cursor, SessionSettings, session
from ...verification.findings import Finding
from ...verification.trials.code_scan import scan
from ...verification.trials.reach import Danger, Reach
from .evaluate import plan_settings
from .subject import Subject

#: Another session is in the way: nothing is known.
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
            # Triggers of the deployment see what they see of the application: its path, not ours.
            cursor.execute("SET LOCAL search_path TO DEFAULT")
            yield cursor
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")


#: Entries of the inventory that let it run: the second serves the trials too.
ACCEPTED_BY = ("trigger_not_sampled", "trial_not_run")

BODIES = """
SELECT wanted.name AS function, coalesce(p.prosrc, '') AS body,
       coalesce(l.lanpltrusted OR l.lanname = 'internal', false) AS trusted
  FROM unnest(%(functions)s::text[]) AS wanted (name)
  LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = to_regproc(wanted.name)
  LEFT JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
"""


class WriteReach(Reach):
    """What a single write can set off."""

    def dangers_of(self, table: str, event: str) -> list[Danger]:
        """Return what a write to a table could set off and a rollback would not undo."""
        found: dict[str, Danger] = {}
        places = deque((oid, event) for oid in self._by_name.get(table, ()))
        functions: deque[tuple[int, bool]] = deque()
        seen: set[Any] = set()
        while places or functions:
            if places:
                self._visit_relation(places, functions, found, seen)
            else:
                self._visit_function(functions, places, found, seen)
        return list(found.values())


def unaccepted_effects(subject: Subject, table: str, event: str) -> Iterator[Finding]:
    """Yield a finding for each function or table that a write could reach and that the inventory does not accept."""
    accepted = {entry["object"] for entry in subject.view.accepted if entry["finding"] in ACCEPTED_BY}
    for danger in WriteReach(subject.view.cursor).dangers_of(table, event):
        if danger.object in accepted:
            continue
        yield Finding(
            "trigger_not_sampled",
            "warning",
            danger.object,
            f"no {event} of {table} was tried: it can reach {danger.object} ({danger.why})",
            "what that does cannot be rolled back; whether a trigger refuses the rows of the plan is not known",
            "read it; where a trial does no harm, accept it in database_accepted_findings: "
            f"{{finding: trigger_not_sampled, object: '{danger.object}', reason: <why>}}",
        )


def reaching_outside(subject: Subject, rows: list[dict[str, Any]]) -> list[str]:
    """Return the functions of event triggers whose text says that they act outside the transaction."""
    bodies = subject.view.rows(BODIES, {"functions": [row["function"] for row in rows]})
    return [row["function"] for row in bodies if not row["trusted"] or scan(row["body"]).outside]
