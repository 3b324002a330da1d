"""The plain backfill: one worker walks the keys in batches of a fixed size, each committed with its journal row."""

from __future__ import annotations

import time

import psycopg2
from psycopg2 import sql

from ..errors import RunbookError
from ..journal import steps as journal_steps
from ..session.connection import Stopwatch, identifier, transaction
from . import locks
from .locks import BlockerWatch
from .step_context import StepContext
from .steps import Step

#: A pass over all keys that moves nothing proves the end. More passes than this: rows keep coming unmoved.
PASSES = 10
RETRY_PAUSE_SECONDS = 0.2

RETRIED = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.SerializationFailure,
)


class Walk:
    """The walk of one backfill step."""

    def __init__(self, context: StepContext, step: Step) -> None:
        if context.backfill is None:
            raise RunbookError(f"{context.describe(step)} is a backfill that the plan does not describe.")
        self._context = context
        self._step = step
        self._rows = context.limits.batch_rows or context.backfill["batch_rows"]
        self._key = sql.Identifier(context.backfill["key"])
        self._table = identifier(context.backfill["table"])
        self._call = sql.SQL("SELECT {function}(%s, %s)").format(function=identifier(context.backfill["function"]))

    def run(self) -> None:
        """Walk until a pass has moved nothing, from where an earlier call stopped.

        :raises RunbookError: a batch that fails on each try, or rows that keep coming; both can be resumed.
        """
        context, step, stopwatch = self._context, self._step, Stopwatch()
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            step_id = journal_steps.put(cursor, context.work, step, "intent")
            last = journal_steps.last_batch(cursor, step_id)
            context.totals["batches"], context.totals["rows_moved"] = journal_steps.totals(cursor, context.work)
        context.begun = True
        if last is None:
            self._analyze()
        context.queries += [text.as_string(context.connection) for text in (self._page(None), self._call)]
        number, after, moved = (last["pass"], last["upto_key"], last["rows_moved_in_pass"]) if last else (1, None, 0)
        while True:
            moved += self._walk_once(step_id, number, after)
            # The first pass may end before rows that came behind it: only a later one that is empty proves the end.
            if number > 1 and moved == 0:
                break
            if number == PASSES:
                self._refuse_endless(moved)
            number, after, moved = number + 1, None, 0
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            journal_steps.put(cursor, context.work, step, "done", rows_moved=context.totals["rows_moved"])
        context.note(step, "done", stopwatch, 1)

    def _analyze(self) -> None:
        """Give the planner the table as it is: a column just added has no statistics, and a batch is then planned
        through its index over every row that is left, which makes the walk quadratic."""
        statement = sql.SQL("ANALYZE {}").format(self._table)
        with BlockerWatch(self._context.observer, self._context.connection, 1.0) as watch:
            try:
                with transaction(self._context.connection) as cursor:
                    locks.set_local(cursor, "lock_timeout", 0)  # its lock makes neither readers nor writers wait
                    locks.set_local(cursor, "statement_timeout", self._context.limits.long_step_limit_seconds)
                    cursor.execute(statement)
            except psycopg2.Error as error:
                why = locks.in_words(watch.blockers, watch.problem) if watch.blockers else ""
                raise self._context.failure(self._step, error, why, left_as="resumable") from error

    def _walk_once(self, step_id: int, number: int, after: str | None) -> int:
        moved = 0
        while (upto := self._page_end(after)) is not None:
            moved += self._batch(step_id, number, (after, upto))
            after = upto
        return moved

    def _page_end(self, after: str | None) -> str | None:
        """Return the last key of the next page, or None at the end."""
        with self._context.connection.cursor() as cursor:
            cursor.execute(self._page(after))
            row = cursor.fetchone()
        return str(row[0]) if row else None

    def _page(self, after: str | None) -> sql.Composed:
        condition = sql.SQL("true") if after is None else sql.SQL("{} > {}").format(self._key, sql.Literal(after))
        return sql.SQL(
            "SELECT page.key::text FROM (SELECT {key} AS key FROM {table} WHERE {condition} ORDER BY {key}"
            " LIMIT {rows}) AS page ORDER BY page.key DESC LIMIT 1"
        ).format(key=self._key, table=self._table, condition=condition, rows=sql.Literal(self._rows))

    def _batch(self, step_id: int, number: int, span: tuple[str | None, str]) -> int:
        """Move one range in one transaction; try again, with growing pauses, when locks or time ran out."""
        limits = self._context.limits
        for attempt in range(1, limits.batch_attempts + 1):
            with BlockerWatch(
                self._context.observer, self._context.connection, limits.batch_lock_timeout_seconds
            ) as watch:
                try:
                    return self._move(step_id, number, span, attempt)
                except RETRIED as error:
                    refused: psycopg2.Error = error
                except psycopg2.Error as error:
                    raise self._failure(error, span) from error
            if attempt < limits.batch_attempts:
                time.sleep(RETRY_PAUSE_SECONDS * 2 ** (attempt - 1))
        why = f"Given up after {limits.batch_attempts} attempts. {locks.in_words(watch.blockers, watch.problem)}"
        raise self._failure(refused, span, why) from refused

    def _failure(self, error: psycopg2.Error, span: tuple[str | None, str], why: str = "") -> RunbookError:
        return self._context.failure(
            self._step, error, f"{self._range_in_words(span)} {why}".strip(), left_as="resumable"
        )

    def _move(self, step_id: int, number: int, span: tuple[str | None, str], attempt: int) -> int:
        context, stopwatch = self._context, Stopwatch()
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            locks.set_local(cursor, "lock_timeout", context.limits.batch_lock_timeout_seconds)
            locks.set_local(cursor, "statement_timeout", context.limits.batch_timeout_seconds)
            cursor.execute(self._call, span)
            row = cursor.fetchone()
            moved = int(row[0]) if row and row[0] is not None else 0
            # A pass that only proves leaves no rows: its batches write nothing, so they cost no commit.
            if moved or number == 1:
                journal_steps.put_batch(
                    cursor,
                    context.work,
                    (step_id, self._step.number),
                    span,
                    number_of_pass=number,
                    rows_moved=moved,
                    attempts=attempt,
                    milliseconds=round(stopwatch.seconds() * 1000, 1),
                )
        if moved or number == 1:
            context.totals["batches"] += 1
            context.totals["rows_moved"] += moved
        return moved

    def _range_in_words(self, span: tuple[str | None, str]) -> str:
        start = f"after {span[0]} " if span[0] else ""
        return f"In the batch of {(self._context.backfill or {}).get('table')} {start}up to {span[1]}."

    def _refuse_endless(self, moved: int) -> None:
        raise RunbookError(
            f"{self._context.describe(self._step)}: after {PASSES} passes over all keys the last one still moved "
            f"{moved} rows. Something keeps writing rows that the plan's triggers do not move.",
            object_name=str((self._context.backfill or {}).get("table")),
            left_as="resumable",
            next_command=self._context.resume_command,
        )
