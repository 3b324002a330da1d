"""A worker: takes ranges from the queue and moves each in batches, with retries when a lock blocks it."""

from __future__ import annotations

import random
import time

import psycopg2

from ...journal.steps import Place
from ...locking import blockers
from ...locking.limits import Limits
from .batch import OF_A_ROW, RETRIED, Batches, Span
from .ranges import Range
from .shared_state import BatchReport, SharedState

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class StoppedError(Exception):
    """Everything stops; the shared state has the reason."""


class BatchError(Exception):
    """A batch cannot be moved, with the server's error."""

    def __init__(self, error: psycopg2.Error, why: str) -> None:
        super().__init__(why)
        self.error = error
        self.why = why


class Worker:
    """Works until the queue is empty, everything stops, or there are too many workers.

    :param place: id and number of the step, and the pass.
    """

    def __init__(
        self, number: int, batches: Batches, shared_state: SharedState, limits: Limits, place: tuple[int, int, int]
    ) -> None:
        self.number = number
        self.batches = batches
        self._shared_state = shared_state
        self._limits = limits
        self._place = place
        self._planned = False

    def run(self) -> None:
        """Process ranges; put any failure into the shared state."""
        try:
            while (found := self._shared_state.take(self.number)) is not None:
                self._shared_state.give_back(self._process_range(found))
        except StoppedError:
            self._shared_state.give_back(None)
        except BaseException as error:  # noqa: BLE001 - the pool raises it in the main thread
            self._shared_state.fail(error)

    def _process_range(self, found: Range) -> Range | None:
        """Move a range from its ``after``. Return what remains of it if this worker must stop."""
        while self._shared_state.may_begin(self.number):
            found.after = self._move(Span(found.after, found.upto), found.number)
            if found.after == found.upto:
                return None
        return found

    def _move(self, span: Span, range_number: int) -> str | None:
        """Move the first rows of a span and return the last key done.

        A span that keeps failing is halved, down to the row that cannot be moved.
        """
        rows = None if self.batches.whole_ranges else self._shared_state.size.rows
        waiting, began, attempt = [span], time.monotonic(), 0
        upto = span.after
        while waiting:
            if self._shared_state.failure:
                raise StoppedError
            attempt += 1
            try:
                upto = self._try(waiting[-1], range_number, attempt, rows)
            except RETRIED as error:
                self._shared_state.count_transaction()
                self._shared_state.size.shrink()
                if attempt % self._limits.batch_attempts == 0:
                    if not self._halve(waiting, rows):
                        self._give_up_in_time(error, waiting[-1], attempt, began)
                    rows = None
                self._pause(attempt)
                continue
            except OF_A_ROW as error:
                if not self._halve(waiting, rows):
                    raise BatchError(error, f"{self._row_to_text(waiting[-1])}") from error
                attempt, rows = 0, None
                continue
            except psycopg2.Error as error:
                raise BatchError(error, waiting[-1].to_text(self.batches.table)) from error
            waiting.pop()
            attempt = 0
        return upto

    def _try(self, span: Span, range_number: int, attempt: int, rows: int | None) -> str | None:
        self._shared_state.working(self.number, True)
        try:
            place = Place(*self._place, range_number, self.number)
            moved = self.batches.move(span, place, attempt, rows)
        finally:
            self._shared_state.working(self.number, False)
        if self._planned and rows and moved.span.upto != span.upto:
            # The last batch of a range may be small, and the first of a session plans its statements: neither is
            # representative.
            self._shared_state.size.note(rows, moved.milliseconds)
        self._planned = True
        report = BatchReport(span.after, moved.span.upto, moved.rows, self.number, moved.milliseconds)
        self._shared_state.note(report, bool(moved.rows) or place.number_of_pass == 1, moved.revision)
        # Time spent waiting for a lock was no load on the server, so it does not count for the pause.
        busy = min(moved.milliseconds, self._shared_state.size.budget_milliseconds)
        self._shared_state.give_way(self._limits.give_way_ratio * busy / 1000)
        return moved.span.upto

    def _halve(self, waiting: list[Span], rows: int | None) -> bool:
        """Replace the last span (its first ``rows`` keys) with its halves, lower half next. False for a single row."""
        span = waiting[-1]
        # At least two keys: the row that failed need not be the first, because other keys may need no move.
        keys = self.batches.keys(span, max(rows, 2) if rows else 0)
        if len(keys) <= 1:
            return False
        middle = keys[len(keys) // 2 - 1]
        waiting[-1:] = [Span(middle, keys[-1] if rows else span.upto), Span(span.after, middle)]
        return True

    def _give_up_in_time(self, error: psycopg2.Error, span: Span, attempt: int, began: float) -> None:
        """Raise if a single row has been tried for longer than the limit."""
        spent = time.monotonic() - began
        if spent < self._limits.lock_attempts_limit_seconds:
            return
        waiting_for = self._shared_state.waiting_for.get(self.number, [])
        why = f"{self._row_to_text(span)} Given up after {attempt} attempts in {spent:.1f} s. "
        raise BatchError(error, why + blockers.to_text(waiting_for)) from error

    def _row_to_text(self, span: Span) -> str:
        keys = self.batches.keys(span, 1)
        named = f" The row that cannot be moved is {keys[0]}." if keys else ""
        return f"{span.to_text(self.batches.table)}{named}"

    def _pause(self, attempt: int) -> None:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 10))
        self._shared_state.rest(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
