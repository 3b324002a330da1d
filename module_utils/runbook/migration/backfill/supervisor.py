"""The steward: one thread that watches the server's health, obeys the operator, and tells how far the walk is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from ...database.connection import Connection, rows_as_dicts
from ...errors import RunbookError, said
from ...locking import blockers
from ...plan.migration_file import Step
from ...progress.estimate import Estimate
from ..step_context import StepContext
from .health import Health
from .shared_state import Board
from .throttle import Helm

TICK_SECONDS = 0.05
#: A worker that waits this long for the server is looked at: who blocks it?
SUSPICIOUS_SECONDS = 0.05
HEALTH_SECONDS = 1.0
PROGRESS_SECONDS = 0.5
CONTROL_SECONDS = 0.2
#: How long a paused run goes without saying that it lives.
BEAT_SECONDS = 5.0

#: Of what the steward itself asks.
STATEMENT_TIMEOUT = "10s"


class Steward:
    """Runs beside the workers, in a session of its own.

    ``worker_pids``: server processes of the workers, by number.

    :param place: what every progress line says: run, version, title, step.
    """

    def __init__(
        self,
        connection: Connection,
        board: Board,
        helm: Helm,
        context: StepContext,
        place: dict[str, str],
        rows_total: int | None,
    ) -> None:
        self._connection = connection
        self._board = board
        self._helm = helm
        self._context = context
        self._place = place
        self._rows_total = rows_total
        self._estimate = Estimate()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="steward")
        self._due: dict[str, float] = {}
        self.worker_pids: dict[int, int] = {}

    def start(self) -> None:
        """Read once what the operator said and how the server is, before the first batch; then go on beside it."""
        self._helm.obey()
        self._helm.look()
        self._thread.start()

    def stop(self) -> None:
        """End; open pauses are closed in the journal."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._connection.closed == 0:
            try:
                self._helm.let_go()
            except psycopg2.Error:
                # What stopped the walk may have taken this session too. That is what is told; what stays open in the
                # journal is closed by the next start.
                if self._board.failure is None:
                    raise
        self.tell("failed" if self._board.failure else "done")

    def tell(self, state: str = "") -> None:
        """Write a line of progress."""
        board, done = self._board, self._board.rows_moved
        reason = "; ".join(board.held.values())
        pace = "" if state == "done" else board.gives_way
        waits = "" if state == "done" else self._waits_in_words()
        failed = str(board.failure) if state == "failed" else ""
        left = None if self._rows_total is None else max(0, self._rows_total - done)
        eta = None if left is None else self._estimate.eta(left)
        self._context.writer.write(
            {
                **self._place,
                "kind": "backfill",
                "state": state or ("paused" if reason else "running"),
                "rows_done": done,
                "rows_total": self._rows_total,
                "rows_per_second": self._estimate.rate,
                "eta_seconds": eta and eta[0],
                "eta_low_seconds": eta and eta[1],
                "eta_high_seconds": eta and eta[2],
                "batch": board.newest.facts() if board.newest else None,
                "batch_rows": board.size.rows,
                "workers": board.workers,
                "reason": failed or reason or waits or pace,
            }
        )

    def _run(self) -> None:
        try:
            while not self._stop.wait(TICK_SECONDS):
                self._watch_workers()
                # Beside a pause nobody begins a batch, so nobody reads that it was ended.
                changed = self._helm.is_called or (self._board.held and self._is_due("control", CONTROL_SECONDS))
                changed = bool(changed and self._helm.obey())
                if self._is_due("health", HEALTH_SECONDS):
                    changed = self._helm.look() or changed
                if changed:
                    self._due.pop("progress", None)
                if self._is_due("progress", PROGRESS_SECONDS):
                    paused = bool(self._board.held)
                    self._estimate.add(time.monotonic(), self._board.rows_moved, paused=paused)
                    self.tell()
                if self._board.held and self._is_due("beat", BEAT_SECONDS):
                    self._beat()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell; the walk raises it again
            self._board.fail(error)

    def _beat(self) -> None:
        """Say that this run is alive; a batch that is still at work holds the lease, and says so itself."""
        with self._connection.cursor() as cursor, contextlib.suppress(psycopg2.errors.LockNotAvailable):
            self._context.lease.beat(cursor)

    def _is_due(self, what: str, every_seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_seconds
        return True

    # --- workers ----------------------------------------------------------------------------------------------------

    def _watch_workers(self) -> None:
        """Find out who blocks a worker while it waits: afterwards nobody can tell."""
        now = time.monotonic()
        for worker, since in list(self._board.busy_since.items()):
            if now - since < SUSPICIOUS_SECONDS or worker not in self.worker_pids:
                continue
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute(blockers.BLOCKERS, (self.worker_pids[worker],))
                    found = rows_as_dicts(cursor)
                self._board.count_transaction()
            except psycopg2.Error as error:
                raise RunbookError(f"the steward's session failed: {said(error)}", left_as="resumable") from error
            if found:
                self._board.waiting_for[worker] = found

    def _waits_in_words(self) -> str:
        waits = list(self._board.waiting_for.values())
        return blockers.in_words(waits[0]) if waits else ""


@contextmanager
def stewarded(
    context: StepContext, step: Step, board: Board, *, table: str, rows_total: int | None
) -> Iterator[Steward]:
    """Have a steward for the time of a block."""
    health = Health([table], context.health_levels, context.health_query_file)
    connection = context.connect()
    helm = Helm(connection, board, health, context)
    steward = Steward(connection, board, helm, context, context.place(step.name), rows_total)
    try:
        with connection.cursor() as cursor:
            # What the steward reads and writes must never be what the application waits for.
            cursor.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", (STATEMENT_TIMEOUT,))
        steward.start()
        yield steward
    except BaseException as error:
        board.fail(error)
        raise
    finally:
        steward.stop()
        connection.close()
