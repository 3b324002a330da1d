"""Bound the wait of a commit for a synchronous standby: no timeout of a session ends that wait.

Every session that writes gets its cursors from here. A thread detects statements that last longer than the session's
lock limit, checks in its own session whether the server process waits in SyncRep, and cancels the wait. The server
keeps the transaction, which is already committed; here the statement fails nevertheless.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.extensions

from .standbys import UnconfirmedCommitError, read_standbys, targets_of

Connection = psycopg2.extensions.connection

APPLICATION_NAME = "runbook commit watch"
#: The session's lock limit bounds the wait, within these limits, because a standby may need a moment.
SHORTEST_LIMIT_SECONDS = 1.0
LONGEST_LIMIT_SECONDS = 10.0
DEFAULT_LIMIT_SECONDS = 5.0
TICK_SECONDS = 0.1
#: Seconds between two checks of a slow statement.
LOOK_SECONDS = 0.3
#: After this many cancellations without effect, terminate the server process; if that fails too, close the connection.
CANCELS = 2
#: Number of statements of a transaction that a message can use.
STATEMENTS_KEPT = 30

ACTIVITY = """
SELECT pid, coalesce(wait_event, '') AS wait_event, coalesce(xact_start::text, '') AS transaction
  FROM pg_catalog.pg_stat_activity WHERE pid = ANY (%s)
"""
#: In English, as most servers print it: detects a wait that another session has cancelled.
NOTICE = "canceling wait for synchronous replication"


@dataclasses.dataclass(eq=False)
class Watched:
    """One session that writes, and the state of its current statement."""

    connection: Connection
    pid: int
    socket: int
    limit_seconds: float
    connect: Callable[[], Connection]
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    busy_since: float = 0.0
    statements: list[Any] = dataclasses.field(default_factory=list)
    newest: Any = ""
    is_local: bool = False
    notices_seen: int = 0
    # The current wait: its transaction, its start, and what was done about it.
    transaction: str = ""
    waiting_since: float = 0.0
    cancels: int = 0
    terminated_at: float = 0.0
    # The current statement: seconds that it waited before it was cancelled, and the standbys at that time.
    waited_seconds: float = 0.0
    standbys: str = ""

    def forget_wait(self) -> None:
        """Reset: the server process does not wait, or waits for another transaction."""
        self.transaction, self.waiting_since, self.cancels = "", 0.0, 0


class CommitWatch:
    """The sessions of this process that write, and the thread that monitors them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: list[Watched] = []
        self._thread: threading.Thread | None = None
        self._observers: dict[str, Connection] = {}
        self.failure: UnconfirmedCommitError | None = None

    def add(self, connection: Connection, lock_limit_seconds: float, connect: Callable[[], Connection]) -> None:
        """Watch a session until it is closed.

        :param lock_limit_seconds: zero is the server's "no limit".
        :param connect: opens a session that only reads, on the same server and database.
        """
        limit = min(max(lock_limit_seconds or DEFAULT_LIMIT_SECONDS, SHORTEST_LIMIT_SECONDS), LONGEST_LIMIT_SECONDS)
        watched = Watched(connection, connection.info.backend_pid, connection.fileno(), limit, connect)
        with self._lock:
            self._watched = [other for other in self._watched if not other.connection.closed]
            if not self._watched:
                self.failure = None
            self._watched.append(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="commit watch")
                self._thread.start()
        connection.cursor_factory = _cursor_factory(self, watched)

    def raise_failure(self) -> None:
        """Raise a failure that a caller swallowed: an unconfirmed commit must not end as a success.

        :raises UnconfirmedCommitError: a commit of this process was not confirmed.
        """
        if self.failure is not None:
            raise self.failure

    def forget_failure(self) -> None:
        """Reset: the failure has become the result of the call."""
        self.failure = None

    # --- the session's own thread -------------------------------------------------------------------------------------

    def begin(self, watched: Watched, statement: Any) -> None:
        """Record a statement that is about to be sent."""
        status = watched.connection.info.transaction_status
        if status == psycopg2.extensions.TRANSACTION_STATUS_IDLE:
            watched.statements = []
        if len(watched.statements) < STATEMENTS_KEPT:
            watched.statements.append(statement)
        watched.newest, watched.waited_seconds = statement, 0.0
        watched.busy_since = time.monotonic()

    def needs_local(self, watched: Watched) -> bool:
        """Return whether to commit without waiting for a standby: after a failure, only closing is left."""
        if self.failure is None or watched.is_local:
            return False
        status = watched.connection.info.transaction_status
        usable = (psycopg2.extensions.TRANSACTION_STATUS_IDLE, psycopg2.extensions.TRANSACTION_STATUS_INTRANS)
        return status in usable

    def end(self, watched: Watched, error: BaseException | None) -> None:
        """Record that the statement has ended; fail if its commit was not confirmed.

        :raises UnconfirmedCommitError: a standby did not confirm the commit.
        """
        with watched.lock:  # a cancel request in flight has arrived, so it cannot reach the next statement
            watched.busy_since = 0.0
            waited, terminated = watched.waited_seconds, bool(watched.terminated_at)
            watched.waited_seconds = watched.terminated_at = 0.0
            watched.forget_wait()
        noticed = self._was_cancelled(watched)  # also by somebody else, before the limit
        # An error with a code of its own is no lost commit: the statement failed before it came to that.
        if not (waited or noticed) or (isinstance(error, psycopg2.Error) and error.pgcode and not terminated):
            return
        unconfirmed = UnconfirmedCommitError(
            targets=targets_of(watched.connection, watched.statements),
            pid=watched.pid,
            waited_seconds=waited,
            standbys=watched.standbys,
            ended_by="terminated" if terminated or error is not None else "cancelled",
        )
        self.failure = self.failure or unconfirmed
        raise unconfirmed from error

    @staticmethod
    def _was_cancelled(watched: Watched) -> bool:
        notices = watched.connection.notices
        if len(notices) <= watched.notices_seen:
            return False
        new = notices[watched.notices_seen :]
        # psycopg2 keeps the newest fifty.
        watched.notices_seen = 0 if len(notices) >= 50 else len(notices)
        if len(notices) >= 50:
            del notices[:]
        return any(NOTICE in notice for notice in new)

    # --- the watching thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        due: dict[int, float] = {}
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                self._watched = [watched for watched in self._watched if not watched.connection.closed]
                present = list(self._watched)
                if not present:
                    self._thread = None
            now = time.monotonic()
            lasting = [one for one in present if one.busy_since and now - one.busy_since >= one.limit_seconds]
            self._close_observers({_server_of(one) for one in lasting})
            if not present:
                return
            for watched in lasting:
                if now >= due.get(id(watched), 0.0):
                    due[id(watched)] = now + LOOK_SECONDS
                    self._look(watched)

    def _look(self, watched: Watched) -> None:
        """Check one slow statement. A check that fails is retried at the next poll."""
        server = _server_of(watched)
        try:
            observer = self._observers.get(server)
            if observer is None or observer.closed:
                observer = self._observers[server] = watched.connect()
            with observer.cursor() as cursor:
                cursor.execute(ACTIVITY, ([watched.pid],))
                row = cursor.fetchone()
                if row is None or row[1] != "SyncRep":
                    watched.forget_wait()
                elif row[2] != watched.transaction:
                    watched.forget_wait()
                    watched.transaction = row[2]
                    watched.waiting_since = _beginning(watched)
                else:
                    self._end_wait(watched, cursor)
        except Exception:  # noqa: BLE001 - no slot is free, or the connection broke: the next look opens another one
            broken = self._observers.pop(server, None)
            if broken is not None:
                broken.close()

    @staticmethod
    def _end_wait(watched: Watched, cursor: psycopg2.extensions.cursor) -> None:
        waited = time.monotonic() - watched.waiting_since
        if waited < watched.limit_seconds * (1 + watched.cancels):
            return
        standbys = read_standbys(cursor).to_text()
        with watched.lock:
            if not watched.busy_since:
                return
            watched.waited_seconds = round(waited, 1)
            watched.standbys = standbys
            watched.cancels += 1  # first, so that a refused request is not repeated forever
            if watched.cancels <= CANCELS:
                cursor.execute("SELECT pg_catalog.pg_cancel_backend(%s)", (watched.pid,))
            elif not watched.terminated_at:
                watched.terminated_at = time.monotonic()
                cursor.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (watched.pid,))
            else:
                _hang_up(watched.socket)

    def _close_observers(self, needed: set[str]) -> None:
        # A session left open would block a rename or a drop of the database.
        for server in set(self._observers) - needed:
            with contextlib.suppress(psycopg2.Error):
                self._observers.pop(server).close()


#: Of this process: a module, or a test.
WATCH = CommitWatch()


class WatchedCursor(psycopg2.extensions.cursor):
    """A cursor whose statements end even if no standby confirms them."""

    watch: CommitWatch
    watched: Watched

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        """Send a statement.

        :raises UnconfirmedCommitError: it is committed, and no standby has confirmed that.
        """
        self._bounded(query, lambda: super(WatchedCursor, self).execute(query, vars))

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Copy rows. See ``execute``."""
        self._bounded(sql, lambda: super(WatchedCursor, self).copy_expert(sql, file, size))

    def _bounded(self, query: Any, send: Callable[[], None]) -> None:
        watch, watched = self.watch, self.watched
        if watch.needs_local(watched):
            watched.is_local = True
            super().execute("SET synchronous_commit = local")
        watch.begin(watched, query)
        try:
            send()
        except BaseException as error:
            watch.end(watched, error)
            raise
        watch.end(watched, None)


def _cursor_factory(watch: CommitWatch, watched: Watched) -> Callable[..., WatchedCursor]:
    def make(connection: Connection, name: str | None = None, **options: Any) -> WatchedCursor:
        cursor = WatchedCursor(connection, name, **options)
        cursor.watch, cursor.watched = watch, watched
        return cursor

    return make


def _beginning(watched: Watched) -> float:
    """A COMMIT waits from its beginning; of other statements the time they worked before is unknown."""
    newest = watched.newest
    is_commit = isinstance(newest, str) and newest.strip().upper().startswith("COMMIT")
    return watched.busy_since if is_commit else time.monotonic()


def _server_of(watched: Watched) -> str:
    return str(watched.connection.dsn)


def _hang_up(number: int) -> None:
    """Close the connection on this side: a server process that ignores its termination does not answer."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
