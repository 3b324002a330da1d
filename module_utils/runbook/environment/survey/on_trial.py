"""A transaction for rows on trial: it sees what the application sees, waits for nobody, and is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...session.connection import Cursor, SessionSettings, session
from .evaluate import plan_settings
from .subject import Subject

#: Another session is in the way: nothing is known.
BUSY = ("55P03", "40P01", "40001", "57014")


@contextmanager
def on_trial(subject: Subject) -> Iterator[Cursor]:
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
