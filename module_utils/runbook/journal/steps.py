"""Record steps and batches: how far each migration got, in either direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from ..database import queries
from ..database.connection import Cursor, rows_as_dicts
from ..plan.migration_file import Direction, Step
from .schema import exists

#: Kind of the row that closes a direction: written with the ledger's row, after the checks have passed.
CLOSING_KIND = "ledger"
OTHER_DIRECTION: dict[Direction, Direction] = {"applied": "reverted", "reverted": "applied"}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a call does: the run it belongs to, the migration, and whether it is applied or reverted."""

    run_id: str
    version: str
    direction: Direction


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of a batch's row: the step's row and number, the pass over the keys, the range, and the worker."""

    step_id: int
    step_number: int
    number_of_pass: int
    range_number: int
    worker: int


def current_steps(cursor: Cursor) -> list[dict[str, Any]]:
    """Return the rows that count (not superseded), of every migration. Works without a journal."""
    if not exists(cursor):
        return []
    cursor.execute(
        "SELECT * FROM migration_runbook.step WHERE superseded_at IS NULL ORDER BY version, direction, step_number"
    )
    return rows_as_dicts(cursor)


def begin(cursor: Cursor, work: Work, first: Step, *, afresh: bool = False) -> None:
    """Make this direction the current one and write the intent to run its next step, in one transaction.

    The other direction's rows become history, and so do this one's from ``first`` on where its file was edited
    (all of them with ``afresh``).
    Because of the intent, a half-done migration is visible whatever happens next.
    """
    cursor.execute(
        "UPDATE migration_runbook.step SET superseded_at = now() WHERE superseded_at IS NULL AND version = %s"
        " AND (%s OR direction = %s OR step_number > %s OR step_number = %s AND sha256 <> %s)",
        (work.version, afresh, OTHER_DIRECTION[work.direction], first.number, first.number, first.sha256),
    )
    put(cursor, work, first, "intent")


def put(
    cursor: Cursor,
    work: Work,
    step: Step,
    state: str,
    *,
    attempts: int = 1,
    rows_moved: int | None = None,
    changed_tables: bool = True,
) -> int:
    """Write a step's row, or update it. Return its id.

    :param changed_tables: see changes.touches_tables().
    """
    what = (step.number, step.name, step.kind, step.sha256)
    return _put(cursor, work, what, state, attempts, rows_moved, changed_tables)


def close(cursor: Cursor, work: Work, step_number: int) -> None:
    """Record that all steps are done, the checks passed and the ledger is written, in the ledger's transaction."""
    _put(cursor, work, (step_number, "checks and ledger", CLOSING_KIND, ""), "done", 1, None)


def _put(
    cursor: Cursor,
    work: Work,
    what: tuple[int, str, str, str],
    state: str,
    attempts: int,
    rows_moved: int | None,
    changed_tables: bool = True,
) -> int:
    row = queries.row(
        cursor,
        "INSERT INTO migration_runbook.step AS present (run_id, version, direction, step_number, name, kind, sha256,"
        " state, attempts, rows_moved, changed_tables, started_at, finished_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now(),"
        " CASE WHEN %s = 'done' THEN clock_timestamp() END)"
        " ON CONFLICT (version, direction, step_number) WHERE superseded_at IS NULL DO UPDATE SET"
        " run_id = excluded.run_id, name = excluded.name, kind = excluded.kind, sha256 = excluded.sha256,"
        " state = excluded.state, attempts = excluded.attempts, finished_at = excluded.finished_at,"
        " changed_tables = excluded.changed_tables OR present.state = 'done' AND present.changed_tables,"
        " rows_moved = coalesce(excluded.rows_moved, present.rows_moved) RETURNING id",
        (work.run_id, work.version, work.direction, *what, state, attempts, rows_moved, changed_tables, state),
    )
    assert row is not None  # RETURNING of an upsert that always writes
    return int(row[0])


def supersede(cursor: Cursor, versions: Iterable[str]) -> None:
    """Turn every row of these versions into history, after a restore that undid them without their revert files."""
    cursor.execute(
        "UPDATE migration_runbook.step SET superseded_at = now() WHERE superseded_at IS NULL AND version = ANY(%s)",
        (list(versions),),
    )


def put_batch(
    cursor: Cursor,
    work: Work,
    place: Place,
    span: tuple[str | None, str | None],
    *,
    rows_moved: int,
    attempts: int,
    milliseconds: float,
) -> None:
    """Write a batch's row: belongs in the transaction that moved its rows.

    :param span: keys after the first and up to the second; None is unbounded.
    """
    cursor.execute(
        "INSERT INTO migration_runbook.batch (run_id, version, direction, step_id, step_number, pass, range_number,"
        " worker, after_key, upto_key, rows_moved, attempts, milliseconds)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(work.run_id, work.version, work.direction),
            *dataclasses.astuple(place),
            *span,
            *(rows_moved, attempts, milliseconds),
        ),
    )


def set_rows_total(cursor: Cursor, step_id: int, rows_total: int | None) -> None:
    """Record the total number of rows that a backfill moves."""
    cursor.execute("UPDATE migration_runbook.step SET rows_total = %s WHERE id = %s", (rows_total, step_id))


def totals(cursor: Cursor, work: Work) -> tuple[int, int]:
    """Return the batches and the rows moved that count for a migration's direction, earlier calls included."""
    row = queries.row(
        cursor,
        "SELECT count(*), coalesce(sum(b.rows_moved), 0)::bigint FROM migration_runbook.batch b"
        " JOIN migration_runbook.step s ON s.id = b.step_id"
        " WHERE s.superseded_at IS NULL AND s.version = %s AND s.direction = %s",
        (work.version, work.direction),
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)
