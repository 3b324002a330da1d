"""The walk of one backfill step: passes over its ranges with several workers, until nothing is left to move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg2

from ..errors import RunbookError
from ..journal import steps as journal_steps
from ..migration import locks
from ..migration.locks import BlockerWatch
from ..migration.step_context import StepContext
from ..migration.steps import Step
from ..session.connection import Connection, Cursor, Stopwatch, transaction
from ..session.queries import one_row, read_query
from . import ranges, statistics
from .batch import Batches, Span
from .board import Board
from .crew import Crew, default_workers
from .ranges import Range
from .sizing import BatchSize
from .steward import stewarded
from .worker import BatchError

#: More passes than this: rows keep coming unmoved.
PASSES = 10


class Walk:
    """The walk of one backfill step."""

    def __init__(self, context: StepContext, step: Step) -> None:
        if context.backfill is None:
            raise RunbookError(f"{context.describe(step)} is a backfill that the plan does not describe.")
        self._context = context
        self._step = step
        self._backfill = context.backfill
        self._table = str(self._backfill["table"])
        self._key = str(self._backfill["key"])

    def run(self) -> None:
        """Walk until nothing is left, from where an earlier call stopped.

        :raises RunbookError: a row that cannot be moved, rows that keep coming, an operator's abort; all resumable.
        """
        context, step, stopwatch = self._context, self._step, Stopwatch()
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            step_id = journal_steps.put(cursor, context.work, step, "intent")
            number = ranges.newest_pass(cursor, step_id)
            context.totals["batches"], context.totals["rows_moved"] = journal_steps.totals(cursor, context.work)
        context.begun = True
        if not number:
            with self._patiently() as cursor:
                statistics.refresh(cursor, self._table, context.work)
        limits = context.limits
        size = BatchSize(
            limits.batch_rows or self._backfill["batch_rows"],
            limits.batch_rows_least,
            limits.batch_rows_most,
            limits.batch_budget_milliseconds,
        )
        board = Board(size, limits.workers or default_workers(context.connection))
        board.batches, board.rows_moved = context.totals["batches"], context.totals["rows_moved"]
        with ExitStack() as stack:
            steward = stack.enter_context(
                stewarded(context, step, board, table=self._table, rows_total=self._rows_total(step_id))
            )
            crew = stack.enter_context(Crew(board, steward, context.connect, self._batches, limits, self._table))
            self._passes(crew, board, step_id, number)
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            journal_steps.put(cursor, context.work, step, "done", rows_moved=context.totals["rows_moved"])
        context.note(step, "done", stopwatch, 1)

    # --- passes -----------------------------------------------------------------------------------------------------

    def _passes(self, crew: Crew, board: Board, step_id: int, number: int) -> None:
        """Go through the ranges of one pass after another; an empty one proves the end, unless one is enough."""
        left: list[Range] = []
        if number:
            with self._context.connection.cursor() as cursor:
                left = ranges.unfinished(cursor, step_id, number)
        moved_in_pass = 1  # what an interrupted pass has moved counts
        last = number + PASSES  # of this call: who has mended the cause may try again
        while True:
            if not left:
                if number and self._backfill.get("one_pass"):
                    return
                # The first pass may end before rows that came behind it: only a later one that is empty proves the end.
                if number > 1 and not moved_in_pass and not self._backfill.get("remaining"):
                    return
                if number == last:
                    self._refuse_endless(moved_in_pass)
                number += 1
                left = self._next_pass(step_id, number)
                if not left:
                    return
            moved_in_pass = self._pass(crew, board, (step_id, self._step.number, number), left)
            left = []

    def _next_pass(self, step_id: int, number: int) -> list[Range]:
        """Cut the keys into the ranges of a pass: all of them first, later those of the rows that are left."""
        context, query_file = self._context, self._backfill.get("remaining")
        keys: list[str] = []
        if number > 1 and query_file:
            with self._patiently() as cursor:
                cursor.execute(read_query(query_file))
                keys = [str(row[0]) for row in cursor.fetchall()]
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            if number == 1:
                found = ranges.divide(cursor, self._table, self._key, context.limits.range_rows)
            elif query_file:
                found = ranges.around(cursor, self._table, self._key, keys) if keys else []
            else:
                found = [Range(1, None, None)]
            ranges.keep(cursor, step_id, number, found)
        if keys and not found:
            self._refuse_unknown(keys)
        return found

    def _pass(self, crew: Crew, board: Board, place: tuple[int, int, int], left: list[Range]) -> int:
        context, before = self._context, board.rows_moved
        board.begin(left)
        try:
            crew.work(place)
        except BatchError as failure:
            raise context.failure(self._step, failure.error, failure.why, left_as="resumable") from failure.error
        except psycopg2.Error as error:
            raise context.failure(self._step, error, left_as="resumable") from error
        finally:
            context.totals["batches"], context.totals["rows_moved"] = board.batches, board.rows_moved
        return board.rows_moved - before

    # --- around -----------------------------------------------------------------------------------------------------

    def _batches(self, connection: Connection) -> Batches:
        context = self._context
        made = Batches(connection, self._backfill, context.work, context.lease, context.limits)
        if made.call not in context.queries:
            page = made.page_statement(Span(None, None), self._backfill["batch_rows"])
            context.queries += [page.as_string(connection), made.call]
        return made

    def _rows_total(self, step_id: int) -> int | None:
        """How many rows there are to move in all, as the plan's progress query says: counted once."""
        context = self._context
        if not context.progress_query:
            return None
        with self._patiently() as cursor:
            total = one_row(cursor, read_query(context.progress_query)).get("rows_total")
        with transaction(context.connection) as cursor:
            journal_steps.set_rows_total(cursor, step_id, total)
        return None if total is None else int(total)

    @contextmanager
    def _patiently(self) -> Iterator[Cursor]:
        """A transaction whose locks make nobody wait: it waits for them itself, as long as a long step may.

        :raises RunbookError: resumable, with who was in the way.
        """
        context = self._context
        with BlockerWatch(context.observer, context.connection, 1.0) as watch:
            try:
                with transaction(context.connection) as cursor:
                    locks.set_local(cursor, "lock_timeout", 0)
                    locks.set_local(cursor, "statement_timeout", context.limits.long_step_limit_seconds)
                    yield cursor
            except psycopg2.Error as error:
                why = locks.in_words(watch.blockers, watch.problem) if watch.blockers else ""
                raise context.failure(self._step, error, why, left_as="resumable") from error

    def _refuse_unknown(self, keys: list[str]) -> None:
        raise RunbookError(
            f"{self._context.describe(self._step)}: the plan's query for what remains names {len(keys)} keys that the "
            f"table it walks does not have, for example {keys[0]}.",
            object_name=self._table,
            left_as="resumable",
            next_command=self._context.resume_command,
        )

    def _refuse_endless(self, moved: int) -> None:
        raise RunbookError(
            f"{self._context.describe(self._step)}: rows are left after {PASSES} passes; the last one moved {moved}. "
            "Something keeps writing rows that the plan's triggers do not move.",
            object_name=self._table,
            left_as="resumable",
            next_command=self._context.resume_command,
        )
