"""Record a commit that no standby confirmed, and read its effects from journal and ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extras import Json

from ..database import queries
from ..database.connection import Cursor, SessionSettings, session, transaction
from ..database.standbys import UnconfirmedCommitError, read_standbys
from ..errors import RunbookError
from . import ledger
from .schema import exists

UNCONFIRMED, CONFIRMED = "commit_unconfirmed", "commit_confirmed"

#: The record concerns only this server, so it does not wait for a standby either.
SETTINGS = SessionSettings("runbook journal", settings={"synchronous_commit": "local"})


@contextmanager
def noted(options: Mapping[str, Any], run_id: str, about: str, resume_command: str = "") -> Iterator[None]:
    """Record an unconfirmed commit of the block in the run's journal before raising it as a failure.

    :param run_id: empty for work outside a run: the open run, or else the newest, records it.
    :param about: what the block changes, for the message.
    :raises UnconfirmedCommitError: raised by the block, with what was read afterwards.
    """
    try:
        yield
    except UnconfirmedCommitError as error:
        note(options, error, run_id, about, resume_command)
        raise


def note(
    options: Mapping[str, Any],
    error: UnconfirmedCommitError,
    run_id: str,
    about: str,
    resume_command: str = "",
    *,
    step: tuple[str, str, int] | None = None,
) -> None:
    """Write the event, mark the step's row, and add what was read to the message, once per failure.

    :param step: version, direction and number of the step that was running.
    """
    if error.recorded:
        return
    error.recorded = True
    error.describe(about, resume_command)
    try:
        with session(options, SETTINGS) as connection, transaction(connection) as cursor:
            outcome = _record(cursor, error, run_id, step) if exists(cursor) else ""
    except (psycopg2.Error, RunbookError) as problem:
        outcome = f"The journal could not be read or written afterwards: {str(problem).strip()}."
    error.describe(about, resume_command, outcome)


def _record(cursor: Cursor, error: UnconfirmedCommitError, run_id: str, step: tuple[str, str, int] | None) -> str:
    written = queries.row(
        cursor,
        "INSERT INTO migration_runbook.event (run_id, phase, status, details)"
        " SELECT r.run_id, %s, 'failed', %s FROM migration_runbook.run r"
        " ORDER BY r.run_id = %s DESC, r.state = 'open' DESC, r.started_at DESC LIMIT 1 RETURNING run_id",
        (UNCONFIRMED, Json(error.facts_recorded()), run_id),
    )
    event = f"The journal of run {written[0]} notes this as {UNCONFIRMED}." if written else ""
    if step is None:
        return event
    row = queries.row(
        cursor,
        "UPDATE migration_runbook.step SET unconfirmed_at = clock_timestamp() WHERE version = %s AND direction = %s"
        " AND step_number = %s AND superseded_at IS NULL RETURNING state",
        step,
    )
    version = step[0]
    listed = version in ledger.read(cursor)
    history = f"the migration history {'lists' if listed else 'does not list'} {version}"
    if row is None:
        return f"{event} The journal has no row of the step, and {history}.".strip()
    after = "it is not run again" if row[0] == "done" else "the same command finishes it, and changes nothing twice"
    return f"{event} The journal has the step as {row[0]}: {after}; {history}.".strip()


def note_confirmed(cursor: Cursor, run_id: str) -> bool:
    """Record that unconfirmed commits are now confirmed, when a run continues. Return whether there were any.

    A standby confirms commits in their order: the commit of this note confirms every earlier one.
    """
    cursor.execute(
        "SELECT phase FROM migration_runbook.event WHERE run_id = %s AND phase IN (%s, %s) ORDER BY id DESC LIMIT 1",
        (run_id, UNCONFIRMED, CONFIRMED),
    )
    if cursor.fetchone() != (UNCONFIRMED,):
        return False
    standbys = read_standbys(cursor)
    cursor.execute(
        "INSERT INTO migration_runbook.event (run_id, phase, status, details) VALUES (%s, %s, %s, %s)",
        (run_id, CONFIRMED, "confirmed" if standbys.waits else "not_asked", Json({"standbys": standbys.to_text()})),
    )
    return True
