"""State that workers and supervisor share, guarded by one condition."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .batch_size import BatchSize
from .ranges import Range


@dataclasses.dataclass
class BatchReport:
    """The newest committed batch, for progress."""

    after: str | None
    upto: str | None
    rows: int
    worker: int
    milliseconds: float

    def facts(self) -> dict[str, Any]:
        """Return the batch as plain values."""
        return dataclasses.asdict(self)


class SharedState:
    """The state that all threads of a backfill share.

    :param size: the batch size.
    :param workers: the wanted number of workers.
    """

    def __init__(self, size: BatchSize, workers: int) -> None:
        self.changed = threading.Condition()
        self.size = size
        self.workers = workers
        self.held: dict[str, str] = {}
        self.gives_way = ""
        self.failure: BaseException | None = None
        self.rows_moved = 0
        self.batches = 0
        self.transactions = 0
        self.newest: BatchReport | None = None
        self.revision: int | None = None
        self.on_revision: Callable[[int], None] | None = None
        self.waiting_for: dict[int, list[dict[str, Any]]] = {}
        self.busy_since: dict[int, float] = {}
        self._queue: list[Range] = []
        self._taken = 0

    # --- ranges -----------------------------------------------------------------------------------------------------

    def begin(self, ranges: Sequence[Range]) -> None:
        """Queue the ranges of a pass."""
        with self.changed:
            self._queue = list(ranges)
            self._taken = 0
            self.waiting_for.clear()
            self.changed.notify_all()

    def take(self, worker: int) -> Range | None:
        """Return the next range, or None if there is none for this worker."""
        with self.changed:
            if self.failure or worker > self.workers or not self._queue:
                return None
            self._taken += 1
            return self._queue.pop(0)

    def give_back(self, remains: Range | None) -> None:
        """Mark a taken range as finished, or requeue what remains of it when the worker stops early."""
        with self.changed:
            self._taken -= 1
            if remains:
                self._queue.insert(0, remains)
            self.changed.notify_all()

    @property
    def finished(self) -> bool:
        """Return whether no range is left and none is being worked on."""
        with self.changed:
            return self.is_finished()

    def is_finished(self) -> bool:
        """Return ``finished``; the caller holds ``changed``."""
        return not self._queue and not self._taken

    @property
    def ranges_left(self) -> int:
        """Number of queued ranges."""
        with self.changed:
            return len(self._queue)

    # --- pauses -----------------------------------------------------------------------------------------------------

    def hold(self, signal: str, reason: str) -> None:
        """Let no batch begin until this signal is released. Several signals can hold at once."""
        with self.changed:
            self.held[signal] = reason

    def release(self, signal: str) -> None:
        """End a signal's hold."""
        with self.changed:
            if self.held.pop(signal, None) is not None:
                self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Stop everything; the first failure is the one that is reported."""
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()

    def may_begin(self, worker: int) -> bool:
        """Wait while a signal holds. Return whether this worker may begin another batch."""
        with self.changed:
            self.changed.wait_for(lambda: self.failure or not self.held or worker > self.workers)
            return not self.failure and worker <= self.workers

    def rest(self, seconds: float) -> None:
        """Wait for some seconds, or until everything stops."""
        with self.changed:
            self.changed.wait_for(lambda: self.failure, timeout=seconds)

    def give_way(self, seconds: float) -> None:
        """Wait after a batch while the application is busy."""
        if self.gives_way:
            self.rest(seconds)

    # --- batches ----------------------------------------------------------------------------------------------------

    def working(self, worker: int, busy: bool) -> None:
        """Note whether a worker is waiting for the server."""
        with self.changed:
            if busy:
                self.busy_since[worker] = time.monotonic()
            else:
                self.busy_since.pop(worker, None)

    def count_transaction(self) -> None:
        """Count a transaction of ours other than a batch, to distinguish ours from the application's."""
        with self.changed:
            self.transactions += 1

    def note(self, report: BatchReport, counts: bool, revision: int | None) -> None:
        """Note a committed batch. ``counts``: it has a row in the journal."""
        with self.changed:
            self.transactions += 1
            if counts:
                self.batches += 1
                self.rows_moved += report.rows
            self.newest = report
            # Not earlier: between two attempts progress still names the blockers.
            self.waiting_for.pop(report.worker, None)
        if revision != self.revision and self.on_revision and revision is not None:
            self.on_revision(revision)

    def resize(self, workers: int) -> None:
        """Change the wanted number of workers."""
        with self.changed:
            self.workers = workers
            self.changed.notify_all()
