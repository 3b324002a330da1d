"""Adapt the number of rows in a batch to a time budget, which bounds how long rows stay locked."""

from __future__ import annotations

import threading

#: Weight of the newest batch in the average speed.
NEWEST = 0.3
#: A batch is never more than this many times larger or smaller than the one before.
STEP = 2.0


class BatchSize:
    """The batch size, shared by all workers and adjusted after each batch.

    :param first_rows: rows of the first batch.
    :param least_rows: lower bound; ``most_rows`` is the upper one.
    :param budget_milliseconds: how long a batch should take.
    """

    def __init__(self, first_rows: int, least_rows: int, most_rows: int, budget_milliseconds: float) -> None:
        self._lock = threading.Lock()
        self._least, self._most = least_rows, max(least_rows, most_rows)
        self._rows = float(first_rows)
        self._rows_per_millisecond = 0.0
        self.budget_milliseconds = budget_milliseconds
        self.fixed_rows: int | None = None

    @property
    def rows(self) -> int:
        """Number of rows that the next batch moves."""
        with self._lock:
            return self.fixed_rows or max(1, round(self._rows))

    def note(self, rows: int, milliseconds: float) -> None:
        """Adjust the size after a batch that moved ``rows`` rows."""
        speed = rows / max(milliseconds, 0.05)
        with self._lock:
            known = self._rows_per_millisecond
            self._rows_per_millisecond = speed if not known else known + NEWEST * (speed - known)
            wanted = self._rows_per_millisecond * self.budget_milliseconds
            wanted = min(max(wanted, self._rows / STEP), self._rows * STEP)
            self._rows = min(max(wanted, self._least), self._most)

    def shrink(self) -> None:
        """Halve the size after a batch that failed on a lock or timeout."""
        with self._lock:
            self._rows = max(self._rows / STEP, self._least)
