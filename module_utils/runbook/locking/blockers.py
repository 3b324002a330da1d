"""Blockers of a session, and statements that lock tables with a bounded wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import psycopg2
from psycopg2 import sql

from ..database import queries
from ..database.connection import Connection, Cursor, identifier, rows_as_dicts
from ..database.lock_modes import LOCK_MODES, Lock
from ..errors import server_message
from ..visible import visible

Blocker = dict[str, Any]

#: Share of lock_timeout for every table after the first, because the first one stays locked.
LATER_LOCKS_SHARE = 0.1
#: Autovacuum cancels itself for a session that has waited for deadlock_timeout; wait this much longer.
AUTOVACUUM_MARGIN_SECONDS = 0.2

#: Seconds between two polls of a waiting session.
MINIMAL_INTERVAL_SECONDS = 0.005
MAXIMAL_INTERVAL_SECONDS = 0.5

#: What is reported of a blocker. Its kind is hidden from a role without pg_read_all_stats; a session without a
#: user that holds a lock on a table is autovacuum.
BLOCKER_COLUMNS = sql.SQL("""
       a.pid, a.usename AS "user", coalesce(a.application_name, '') AS application,
       coalesce(a.backend_type, CASE WHEN a.usesysid IS NULL THEN 'autovacuum worker' END, '') AS backend_type,
       coalesce(a.state, 'state unknown') AS state,
       a.xact_start, a.query_start, coalesce(left(a.query, 200), '') AS query,
       round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1) AS age_seconds""")

BLOCKERS = sql.SQL(
    "SELECT {} FROM pg_catalog.pg_stat_activity a"
    " WHERE a.pid = ANY(pg_catalog.pg_blocking_pids(%s)) ORDER BY a.xact_start"
).format(BLOCKER_COLUMNS)


class BlockerWatch:
    """Polls for the blockers of a session while it waits: afterwards they can no longer be determined.

    ``blockers`` holds the newest answer that named someone, ``present`` the newest one.

    :param wait_seconds: how long the session waits for a lock; it is polled several times within this time.
    """

    def __init__(self, observer: Connection, session: Connection, wait_seconds: float = 0.5) -> None:
        self._observer = observer
        self.pid = session.info.backend_pid
        self._interval = max(MINIMAL_INTERVAL_SECONDS, min(wait_seconds / 5, MAXIMAL_INTERVAL_SECONDS))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.blockers: list[Blocker] = []
        self.present: list[Blocker] = []
        self.problem = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            with self._observer.cursor() as cursor:
                while not self._stop.wait(self._interval):
                    self.look(cursor)
        except psycopg2.Error as error:
            self.problem = server_message(error)  # the step goes on; only the names of its blockers are unknown

    def look(self, cursor: Cursor) -> None:
        """Poll the blockers once."""
        cursor.execute(BLOCKERS, (self.pid,))
        self.present = rows_as_dicts(cursor)
        self.blockers = self.present or self.blockers


def to_text(blockers: Sequence[Blocker], problem: str = "") -> str:
    """Name the blockers, for a message."""
    if not blockers:
        return f"The blocking session is not visible{f' ({problem})' if problem else ''}."
    return "Blocked by " + "; ".join(_one_to_text(blocker) for blocker in blockers) + "."


def how_to_end(blockers: Sequence[Blocker]) -> str:
    """Return how to end the blocking client sessions, as the end of a message; empty without one."""
    pids = [blocker["pid"] for blocker in blockers if blocker["backend_type"] != "autovacuum worker" and blocker["pid"]]
    calls = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in dict.fromkeys(pids))
    return f" End any session that does not finish by itself, in its application or with: {calls}." if calls else ""


def is_autovacuum(blockers: Sequence[Blocker]) -> bool:
    """Return whether autovacuum is among the blockers."""
    return any(blocker["backend_type"] == "autovacuum worker" for blocker in blockers)


def deadlock_timeout_seconds(cursor: Cursor) -> float:
    """Return the server's deadlock_timeout."""
    setting = "SELECT setting::float / 1000 FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'"
    return float(queries.value(cursor, setting, default=1.0))


def set_local(cursor: Cursor, name: str, seconds: float) -> None:
    """Set a timeout for the rest of the transaction."""
    cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, f"{round(seconds * 1000)}ms"))


def lock_statement(lock: Lock) -> sql.Composed:
    """Return the statement that locks one table."""
    if lock.mode not in LOCK_MODES:
        raise ValueError(lock.mode)
    return sql.SQL("LOCK TABLE {} IN {} MODE").format(identifier(lock.table), sql.SQL(lock.mode))


def lock_table(cursor: Cursor, lock: Lock, timeout_seconds: float) -> None:
    """Lock one table, waiting no longer than the timeout."""
    set_local(cursor, "lock_timeout", timeout_seconds)
    cursor.execute(lock_statement(lock))


def _one_to_text(blocker: Blocker) -> str:
    age = "age unknown" if blocker["age_seconds"] is None else f"{blocker['age_seconds']} s old"
    since = f"{blocker['query_start']:%H:%M:%S} UTC" if blocker["query_start"] else "unknown"
    # The server may hide the kind of another role's session.
    kind = f"{blocker['backend_type']}, " if blocker["backend_type"] else ""
    return (
        f"pid {blocker['pid']} (user {visible(blocker['user'] or '-')}, "
        f"application {visible(blocker['application'] or '-')}, "
        f"{kind}{blocker['state']}, transaction {age}, "
        f"query since {since}: {visible(blocker['query'] or '-')})"
    )
