"""The passes of a backfill: first all keys, then rows left aside, then whatever remains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from ...database.connection import Cursor, transaction
from ...database.queries import read_query
from ...errors import RunbookError
from ...locking import blockers
from ...locking.blockers import BlockerWatch
from ...plan.migration_file import Step
from ..step_context import StepContext
from . import ranges
from .ranges import Range


@contextmanager
def long_transaction(context: StepContext, step: Step) -> Iterator[Cursor]:
    """Open a transaction that waits for locks up to the limit of a long step.

    :raises RunbookError: resumable, with the blockers.
    """
    with BlockerWatch(context.observer, context.connection, 1.0) as watch:
        try:
            with transaction(context.connection) as cursor:
                blockers.set_local(cursor, "lock_timeout", 0)
                blockers.set_local(cursor, "statement_timeout", context.limits.long_step_limit_seconds)
                yield cursor
        except psycopg2.Error as error:
            why = blockers.to_text(watch.blockers, watch.problem) if watch.blockers else ""
            raise context.failure(step, error, why, left_as="resumable") from error


#: After more passes than this, new rows keep arriving unmoved.
MOST_PASSES = 10


class Passes:
    """The passes of one backfill step, numbered from 1.

    :param backfill: the plan's entry.
    """

    def __init__(self, context: StepContext, step: Step, backfill: dict[str, Any]) -> None:
        self._context = context
        self._step = step
        self._backfill = backfill
        #: Tables of the first passes, which run in any case.
        self._sources = [backfill, *filter(None, [backfill.get("left_aside")])]

    def source(self, number: int) -> dict[str, Any]:
        """Return function, table and key of a pass, from the plan."""
        return self._sources[number - 1] if number <= len(self._sources) else self._backfill

    def whole_ranges(self, number: int) -> bool:
        """Return whether each range of a pass is one batch: few rows with distant keys."""
        return number > len(self._sources) and bool(self._backfill.get("remaining"))

    def nothing_left(self, number: int, moved: int) -> bool:
        """Return whether the backfill is complete after a pass that moved this many rows."""
        if self._backfill.get("one_pass"):
            return number >= len(self._sources)
        # Rows can arrive behind the first pass: only a later pass that moves nothing proves completion.
        return number > len(self._sources) and not moved and not self._backfill.get("remaining")

    def begin(self, step_id: int, number: int, workers: int) -> list[Range]:
        """Divide the keys of a pass into ranges and journal them; empty if no rows are left.

        :raises RunbookError: the plan's query for remaining rows returns keys that do not exist.
        """
        context, source = self._context, self.source(number)
        table, key = str(source["table"]), str(source["key"])
        keys: list[str] = []
        if self.whole_ranges(number):
            with long_transaction(context, self._step) as cursor:
                cursor.execute(read_query(self._backfill["remaining"]))
                keys = [str(row[0]) for row in cursor.fetchall()]
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            if self.whole_ranges(number):
                found = ranges.around(cursor, table, key, keys) if keys else []
            elif number <= len(self._sources):
                found = ranges.divide(cursor, table, key, context.limits.range_rows, workers)
            else:
                found = [Range(1, None, None)]
            ranges.keep(cursor, step_id, number, found)
        if keys and not found:
            raise RunbookError(
                f"{context.describe(self._step)}: the plan's query for remaining rows returns {len(keys)} keys that do "
                f"not exist in {table}, for example {keys[0]}.",
                object_name=table,
                left_as="resumable",
                next_command=context.resume_command,
            )
        return found

    def too_many_passes(self, moved: int) -> RunbookError:
        """Return the error for rows that remain after the last pass."""
        return RunbookError(
            f"{self._context.describe(self._step)}: rows remain after {MOST_PASSES} passes; the last one moved "
            f"{moved}. A session keeps writing rows that the plan's triggers do not move.",
            object_name=str(self._backfill["table"]),
            left_as="resumable",
            next_command=self._context.resume_command,
        )
