"""Run a backfill step: passes over its key ranges with several workers, until no rows are left to move."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg2

from ...database.connection import Connection, Stopwatch, transaction
from ...database.queries import one_row, read_query
from ...errors import RunbookError
from ...journal import steps as journal_steps
from ...plan.migration_file import Step
from ..step_context import StepContext
from . import ranges
from .batch import Batches
from .batch_size import BatchSize
from .passes import MOST_PASSES, Passes, long_transaction
from .ranges import Range
from .shared_state import SharedState
from .supervisor import supervised
from .worker import BatchError
from .worker_pool import WorkerPool, default_workers


class Backfill:
    """One backfill step."""

    def __init__(self, context: StepContext, step: Step) -> None:
        if context.backfill is None:
            raise RunbookError(f"{context.describe(step)} is a backfill that the plan does not describe.")
        self._context = context
        self._step = step
        self._backfill = context.backfill
        self._table = str(self._backfill["table"])
        self._passes = Passes(context, step, self._backfill)

    def run(self) -> None:
        """Move rows until none is left, from where an earlier call stopped.

        :raises RunbookError: a row cannot be moved, new rows keep arriving, or the operator aborted; all resumable.
        """
        context, step, stopwatch = self._context, self._step, Stopwatch()
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            step_id = journal_steps.put(cursor, context.work, step, "intent")
            number = ranges.newest_pass(cursor, step_id)
            context.totals["batches"], context.totals["rows_moved"] = journal_steps.totals(cursor, context.work)
        context.begun = True
        if not number:
            with long_transaction(context, step) as cursor:
                ranges.refresh(cursor, self._table, context.work)
        limits = context.limits
        size = BatchSize(
            limits.batch_rows or self._backfill["batch_rows"],
            limits.batch_rows_least,
            limits.batch_rows_most,
            limits.batch_budget_milliseconds,
        )
        shared_state = SharedState(size, limits.workers or default_workers(context.connection))
        shared_state.batches, shared_state.rows_moved = context.totals["batches"], context.totals["rows_moved"]
        with ExitStack() as stack:
            supervisor = stack.enter_context(
                supervised(context, step, shared_state, table=self._table, rows_total=self._rows_total(step_id))
            )
            pool = stack.enter_context(WorkerPool(shared_state, supervisor, context.connect, self._batches, limits))
            self._run_passes(pool, shared_state, step_id, number)
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            journal_steps.put(cursor, context.work, step, "done", rows_moved=context.totals["rows_moved"])
        context.note(step, "done", stopwatch, 1)

    def _run_passes(self, pool: WorkerPool, shared_state: SharedState, step_id: int, number: int) -> None:
        """Run one pass after another until one proves that no rows are left."""
        left: list[Range] = []
        if number:
            with self._context.connection.cursor() as cursor:
                left = ranges.unfinished(cursor, step_id, number)
        moved_in_pass = 1  # assume that an interrupted pass moved rows
        last = number + MOST_PASSES  # of this call, so that a retry is possible after the cause is repaired
        while True:
            if not left:
                if number and self._passes.nothing_left(number, moved_in_pass):
                    return
                if number == last:
                    raise self._passes.too_many_passes(moved_in_pass)
                number += 1
                left = self._passes.begin(step_id, number, shared_state.workers)
                if not left:
                    return
            moved_in_pass = self._run_pass(pool, shared_state, (step_id, self._step.number, number), left)
            left = []

    def _run_pass(
        self, pool: WorkerPool, shared_state: SharedState, place: tuple[int, int, int], left: list[Range]
    ) -> int:
        context, before = self._context, shared_state.rows_moved
        shared_state.begin(left)
        try:
            pool.work(place)
        except BatchError as failure:
            raise context.failure(self._step, failure.error, failure.why, left_as="resumable") from failure.error
        except psycopg2.Error as error:
            raise context.failure(self._step, error, left_as="resumable") from error
        finally:
            context.totals["batches"], context.totals["rows_moved"] = shared_state.batches, shared_state.rows_moved
        return shared_state.rows_moved - before

    def _batches(self, connection: Connection, number: int) -> Batches:
        context = self._context
        source, whole_ranges = self._passes.source(number), self._passes.whole_ranges(number)
        made = Batches(connection, source, context.work, context.lease, context.limits, whole_ranges=whole_ranges)
        if made.call not in context.queries:
            context.queries.append(made.call)
        return made

    def _rows_total(self, step_id: int) -> int | None:
        """Return the total number of rows to move from the plan's progress query, and journal it."""
        context = self._context
        if not context.progress_query:
            return None
        with long_transaction(context, self._step) as cursor:
            total = one_row(cursor, read_query(context.progress_query)).get("rows_total")
        with transaction(context.connection) as cursor:
            journal_steps.set_rows_total(cursor, step_id, total)
        return None if total is None else int(total)
