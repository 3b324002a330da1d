"""The supervisor thread of a backfill: watches the server, obeys the operator, and reports progress."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from ...database.connection import Connection, rows_as_dicts
from ...errors import RunbookError, server_message
from ...locking import blockers
from ...plan.migration_file import Step
from ...progress.estimate import Estimate
from ..step_context import StepContext
from .health import Health
from .shared_state import SharedState
from .throttle import Throttle

TICK_SECONDS = 0.05
#: Look for blockers of a worker that has waited for the server this long.
SUSPICIOUS_SECONDS = 0.05
HEALTH_SECONDS = 1.0
PROGRESS_SECONDS = 0.5
CONTROL_SECONDS = 0.2
#: Between two heartbeats of a paused run.
BEAT_SECONDS = 5.0

#: For the supervisor's own queries.
STATEMENT_TIMEOUT = "10s"


class Supervisor:
    """Runs beside the workers in its own session; ``worker_pids`` are the workers' server processes, by number.

    :param place: the keys of every progress line: run, version, title, step.
    """

    def __init__(
        self,
        connection: Connection,
        shared_state: SharedState,
        throttle: Throttle,
        context: StepContext,
        place: dict[str, str],
        rows_total: int | None,
    ) -> None:
        self._connection = connection
        self._shared_state = shared_state
        self._throttle = throttle
        self._context = context
        self._place = place
        self._rows_total = rows_total
        self._estimate = Estimate()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="supervisor")
        self._due: dict[str, float] = {}
        self.worker_pids: dict[int, int] = {}

    def start(self) -> None:
        """Read the operator's command and the health signals before the first batch, then start the thread."""
        self._throttle.apply_control()
        self._throttle.read_health()
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and close open pauses in the journal."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._connection.closed == 0:
            try:
                self._throttle.close_pauses()
            except psycopg2.Error:
                # The failure that is reported may have ended this session too. The next start closes open pauses.
                if self._shared_state.failure is None:
                    raise
        self.write_progress("failed" if self._shared_state.failure else "done")

    def write_progress(self, state: str = "") -> None:
        """Write a line of progress."""
        shared_state, done = self._shared_state, self._shared_state.rows_moved
        reason = "; ".join(shared_state.held.values())
        pace = "" if state == "done" else shared_state.gives_way
        waits = "" if state == "done" else self._waits_to_text()
        failed = str(shared_state.failure) if state == "failed" else ""
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
                "batch": shared_state.newest.facts() if shared_state.newest else None,
                "batch_rows": shared_state.size.rows,
                "workers": shared_state.workers,
                "reason": failed or reason or waits or pace,
            }
        )

    def _run(self) -> None:
        try:
            while not self._stop.wait(TICK_SECONDS):
                self._watch_workers()
                # During a pause no batch reads new commands, so read them here.
                changed = self._throttle.has_new_command or (
                    self._shared_state.held and self._is_due("control", CONTROL_SECONDS)
                )
                changed = bool(changed and self._throttle.apply_control())
                if self._is_due("health", HEALTH_SECONDS):
                    changed = self._throttle.read_health() or changed
                if changed:
                    self._due.pop("progress", None)
                if self._is_due("progress", PROGRESS_SECONDS):
                    paused = bool(self._shared_state.held)
                    self._estimate.add(time.monotonic(), self._shared_state.rows_moved, paused=paused)
                    self.write_progress()
                if self._shared_state.held and self._is_due("beat", BEAT_SECONDS):
                    self._beat()
        except BaseException as error:  # noqa: BLE001 - the pool raises it in the main thread
            self._shared_state.fail(error)

    def _beat(self) -> None:
        """Renew the heartbeat; a running batch holds the lease's row and renews it itself."""
        with self._connection.cursor() as cursor, contextlib.suppress(psycopg2.errors.LockNotAvailable):
            self._context.lease.beat(cursor)

    def _is_due(self, what: str, every_seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_seconds
        return True

    def _watch_workers(self) -> None:
        """Find the blockers of a worker while it waits: afterwards they cannot be determined."""
        now = time.monotonic()
        for worker, since in list(self._shared_state.busy_since.items()):
            if now - since < SUSPICIOUS_SECONDS or worker not in self.worker_pids:
                continue
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute(blockers.BLOCKERS, (self.worker_pids[worker],))
                    found = rows_as_dicts(cursor)
                self._shared_state.count_transaction()
            except psycopg2.Error as error:
                raise RunbookError(
                    f"the supervisor's session failed: {server_message(error)}", left_as="resumable"
                ) from error
            if found:
                self._shared_state.waiting_for[worker] = found

    def _waits_to_text(self) -> str:
        waits = list(self._shared_state.waiting_for.values())
        return blockers.to_text(waits[0]) if waits else ""


@contextmanager
def supervised(
    context: StepContext, step: Step, shared_state: SharedState, *, table: str, rows_total: int | None
) -> Iterator[Supervisor]:
    """Run a supervisor for the duration of a block."""
    health = Health([table], context.health_levels, context.health_query_file)
    connection = context.connect()
    throttle = Throttle(connection, shared_state, health, context)
    supervisor = Supervisor(connection, shared_state, throttle, context, context.place(step.name), rows_total)
    try:
        with connection.cursor() as cursor:
            # The application must never wait for the supervisor's statements.
            cursor.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", (STATEMENT_TIMEOUT,))
        supervisor.start()
        yield supervisor
    except BaseException as error:
        shared_state.fail(error)
        raise
    finally:
        supervisor.stop()
        connection.close()
