"""Estimate how fast rows move and how long the rest will take, with an error band."""

from __future__ import annotations

import itertools
import math
from collections import deque

WINDOW_SECONDS = 1.0
WINDOWS = 30
#: With fewer windows there is a rate but no estimate.
LEAST_WINDOWS = 4
#: Two standard errors: about 95 % of the outcomes if the rate stays the same.
STANDARD_ERRORS = 2.0
#: The band never ends later than this many times the estimate.
LATEST = 10.0
MOST_CORRELATION = 0.9


class Estimate:
    """Rate and time left from (time, rows done) samples.

    Method: time during which the backfill was not paused is divided into windows of at least a second, of which the
    newest 30 are kept. The rate is their rows divided by their seconds. The remaining time is an average over m
    further windows, so its error combines that of the current mean and that of the future one: s * sqrt(1/n + 1/m),
    where s is the standard deviation of the windows' rates. Consecutive windows resemble each other (a checkpoint
    slows down several), so n and m are reduced by (1 - r) / (1 + r), where r is the correlation of neighbours. The
    band is two such errors to each side of the rate.
    """

    def __init__(self) -> None:
        self._windows: deque[tuple[float, int]] = deque(maxlen=WINDOWS)
        self._last: tuple[float, int] | None = None
        self._seconds = 0.0
        self._rows = 0

    def add(self, time: float, rows_done: int, *, paused: bool = False) -> None:
        """Add a sample: seconds of any monotonic clock, and all rows done so far.

        :param paused: the backfill was paused since the last sample: that time does not count.
        """
        last, self._last = self._last, (time, rows_done)
        if last is None or paused:
            return
        if rows_done < last[1] or time < last[0]:  # another step began
            self._windows.clear()
            self._seconds, self._rows = 0.0, 0
            return
        self._seconds += time - last[0]
        self._rows += rows_done - last[1]
        if self._seconds >= WINDOW_SECONDS:
            self._windows.append((self._seconds, self._rows))
            self._seconds, self._rows = 0.0, 0

    @property
    def rate(self) -> float | None:
        """Rows per second over the newest windows; None before the first one."""
        seconds = sum(window[0] for window in self._windows)
        return sum(window[1] for window in self._windows) / seconds if seconds else None

    def eta(self, rows_left: int) -> tuple[float, float, float] | None:
        """Seconds until ``rows_left`` more rows are done: expected, least, most. None while it cannot be estimated."""
        if rows_left <= 0:
            return (0.0, 0.0, 0.0)
        rate = self.rate
        if not rate or len(self._windows) < LEAST_WINDOWS:
            return None
        rates = [rows / seconds for seconds, rows in self._windows]
        deviations = [value - sum(rates) / len(rates) for value in rates]
        squares = sum(value * value for value in deviations)
        share = _independent_share(deviations, squares)
        left = rows_left / rate
        length = sum(seconds for seconds, _ in self._windows) / len(self._windows)
        present, to_come = max(1.0, len(rates) * share), max(1.0, left / length * share)
        error = math.sqrt(squares / (len(rates) - 1) * (1 / present + 1 / to_come))
        slowest = max(rate - STANDARD_ERRORS * error, rate / LATEST)
        return (left, rows_left / (rate + STANDARD_ERRORS * error), rows_left / slowest)


def _independent_share(deviations: list[float], squares: float) -> float:
    """Return the share of a window that is independent of its neighbour."""
    if not squares:
        return 1.0
    products = sum(first * second for first, second in itertools.pairwise(deviations))
    correlation = min(MOST_CORRELATION, max(0.0, products / squares))
    return (1 - correlation) / (1 + correlation)
