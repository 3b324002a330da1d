"""Move one batch: rows of a key range in one transaction, together with the batch's row in the journal."""

from __future__ import annotations

import dataclasses
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.connection import Connection, Stopwatch, identifier, transaction
from ...database.queries import row
from ...journal.lease import Lease
from ...journal.steps import Place, Work, put_batch
from ...locking.limits import Limits

#: A lock or time limit stopped the batch: it can succeed later.
RETRIED = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.SerializationFailure,
)
#: A row cannot be moved: halve the batch to find it.
OF_A_ROW = (psycopg2.DataError, psycopg2.IntegrityError)

#: Keys of a batch to halve: more than the largest batch.
MOST_KEYS = 100_000


@dataclasses.dataclass(frozen=True)
class Span:
    """Keys with ``after < key <= upto``; None is unbounded."""

    after: str | None
    upto: str | None

    def to_text(self, table: str) -> str:
        """Return the span as a sentence."""
        start = f"after {self.after} " if self.after else ""
        return f"In the batch of {table} {start}up to {self.upto or 'the end'}."


@dataclasses.dataclass(frozen=True)
class Moved:
    """A batch that was committed.

    :param revision: of the operator's command that the batch read.
    """

    span: Span
    rows: int
    milliseconds: float
    revision: int | None


class Batches:
    """Runs batches in one session.

    :param backfill: the plan's entry: function, table, key.
    :param work: run, migration and direction.
    :param whole_ranges: each range is one batch.
    """

    def __init__(
        self,
        connection: Connection,
        backfill: dict[str, Any],
        work: Work,
        lease: Lease,
        limits: Limits,
        *,
        whole_ranges: bool = False,
    ) -> None:
        self.table = str(backfill["table"])
        self.whole_ranges = whole_ranges
        self._connection = connection
        self._work = work
        self._lease = lease
        self._key = sql.Identifier(backfill["key"])
        self.call = (
            sql.SQL("SELECT rows_moved, last_key::text FROM {}(%s, %s, %s)")
            .format(identifier(backfill["function"]))
            .as_string(connection)
        )
        # Asynchronous commit keeps row locks short. After a crash a lost batch has also lost its journal row, so it is
        # repeated; a later commit of the application flushes the batch too.
        self._settings = sql.SQL(
            "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SET LOCAL synchronous_commit = off; "
            # The transaction count of the server minus ours must be that of the application.
            "SELECT pg_catalog.pg_stat_force_next_flush()"
        ).format(
            sql.Literal(f"{round(limits.batch_lock_timeout_seconds * 1000)}ms"),
            sql.Literal(f"{round(limits.batch_timeout_seconds * 1000)}ms"),
        )

    def keys(self, span: Span, rows: int = 0) -> list[str]:
        """Return the span's first keys in order: ``rows`` of them, or (0) up to MOST_KEYS."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("SELECT t.{key}::text FROM {table} AS t WHERE {inside} ORDER BY t.{key} LIMIT {most}").format(
                    key=self._key,
                    table=identifier(self.table),
                    inside=self._inside(span),
                    most=sql.Literal(rows or MOST_KEYS),
                )
            )
            return [str(key) for (key,) in cursor.fetchall()]

    def move(self, span: Span, place: Place, attempt: int, rows: int | None) -> Moved:
        """Move the first ``rows`` rows of a span that need it, or (None) all of them.

        :raises RunbookError: another run has taken the lease.
        :raises psycopg2.Error: the batch failed and was rolled back.
        """
        stopwatch = Stopwatch()
        with transaction(self._connection) as cursor:
            cursor.execute(self._settings)
            revision = self._lease.check(cursor)
            moved, last = row(cursor, self.call, (span.after, span.upto, rows)) or (0, None)
            moved = moved or 0
            done = Span(span.after, span.upto if last is None else str(last))
            # Later passes journal only batches that moved rows.
            if moved or place.number_of_pass == 1:
                put_batch(
                    cursor,
                    self._work,
                    place,
                    (done.after, done.upto),
                    rows_moved=moved,
                    attempts=attempt,
                    milliseconds=stopwatch.milliseconds(),
                )
        return Moved(done, moved, stopwatch.milliseconds(), revision)

    def _inside(self, span: Span) -> sql.Composable:
        conditions = [
            sql.SQL("t.{} {} {}").format(self._key, sql.SQL(compared), sql.Literal(bound))
            for compared, bound in ((">", span.after), ("<=", span.upto))
            if bound is not None
        ]
        return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")
