"""The workers of a pass: threads with their own sessions, whose number can change while it runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

from ...database.connection import Connection
from ...database.queries import value
from ...locking.limits import Limits
from .batch import Batches
from .shared_state import SharedState
from .supervisor import Supervisor
from .worker import Worker

MOST_WORKERS = 32
#: Default for a remote server, whose number of cores is unknown.
REMOTE_WORKERS = 2
MOST_DEFAULT_WORKERS = 4
POLL_SECONDS = 0.2

FREE_CONNECTIONS = """
SELECT pg_catalog.current_setting('max_connections')::integer
     - pg_catalog.current_setting('superuser_reserved_connections')::integer
     - (SELECT count(*) FROM pg_catalog.pg_stat_activity
         WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usesysid IS NOT NULL)
"""


def default_workers(connection: Connection) -> int:
    """Return the default number of workers: by the cores of a local server, and a quarter of the free connections."""
    with connection.cursor() as cursor:
        free = int(value(cursor, FREE_CONNECTIONS))
    host = connection.info.host or "/"
    here = host.startswith(("/", "127.", "localhost", "::1"))
    cores = min(MOST_DEFAULT_WORKERS, os.cpu_count() or 1) if here else REMOTE_WORKERS
    return max(1, min(cores, free // 4))


class WorkerPool:
    """Keeps as many workers running as the shared state wants, and closes their sessions at the end.

    :param connect: opens a session that writes for this run.
    :param batches: prepares a session for the batches of a pass.
    """

    def __init__(
        self,
        shared_state: SharedState,
        supervisor: Supervisor,
        connect: Callable[[], Connection],
        batches: Callable[[Connection, int], Batches],
        limits: Limits,
    ) -> None:
        self._shared_state = shared_state
        self._supervisor = supervisor
        self._connect = connect
        self._batches = batches
        self._limits = limits
        self._sessions: dict[int, Connection] = {}
        self._threads: dict[int, threading.Thread] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._shared_state.fail(error)  # after a signal to this process too, no worker begins another batch
            self._stop_workers()
        for session in self._sessions.values():
            session.close()

    def work(self, place: tuple[int, int, int]) -> None:
        """Work until every range is finished.

        :param place: id and number of the step, and the pass.
        :raises BaseException: the first failure; all workers have stopped then.
        """
        shared_state = self._shared_state
        while not shared_state.finished:
            self._start_workers(place)
            with shared_state.changed:
                shared_state.changed.wait_for(
                    lambda: shared_state.failure or shared_state.is_finished(), timeout=POLL_SECONDS
                )
            if shared_state.failure:
                self._stop_workers()
                raise shared_state.failure
        for thread in self._threads.values():
            thread.join()

    def _start_workers(self, place: tuple[int, int, int]) -> None:
        for number in range(1, min(self._shared_state.workers, MOST_WORKERS) + 1):
            thread = self._threads.get(number)
            if (thread and thread.is_alive()) or not self._shared_state.ranges_left:
                continue
            session = self._sessions.get(number) or self._connect()
            self._sessions[number] = session
            self._supervisor.worker_pids[number] = session.info.backend_pid
            worker = Worker(number, self._batches(session, place[2]), self._shared_state, self._limits, place)
            self._threads[number] = threading.Thread(target=worker.run, daemon=True, name=f"worker {number}")
            self._threads[number].start()

    def _stop_workers(self) -> None:
        """Cancel the workers' statements; an interrupted batch is rolled back."""
        alive = [number for number, thread in self._threads.items() if thread.is_alive()]
        for number in alive:
            if self._sessions[number].closed == 0:
                self._sessions[number].cancel()
        for number in alive:
            self._threads[number].join()
