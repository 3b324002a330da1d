"""Allow one writer at a time: an advisory lock that nobody waits for, and a fencing number that every batch reads."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2

from ..database import queries
from ..database.connection import Connection, Cursor, rows_as_dicts, transaction
from ..database.standbys import require_standbys
from ..errors import RunbookError
from .schema import exists

#: Key of the advisory lock ("RUNB", 1). Advisory locks count per database.
LOCK_KEY = (0x52554E42, 1)
NAME = "migration"
ROUNDS = 20
ROUND_SECONDS = 0.5

HOLDER = """
SELECT a.pid, a.usename AS "user", coalesce(a.application_name, '') AS application, l.run_id, l.holder,
       round(extract(epoch FROM clock_timestamp() - coalesce(l.acquired_at, a.backend_start)))::bigint AS age_seconds,
       a.usename IN (session_user, current_user) AS is_ours
  FROM pg_catalog.pg_locks k
  JOIN pg_catalog.pg_stat_activity a ON a.pid = k.pid
  LEFT JOIN migration_runbook.lease l ON l.name = %s AND l.released_at IS NULL
 WHERE k.locktype = 'advisory' AND k.classid = %s AND k.objid = %s AND k.granted
   AND k.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""


def application_name(run_id: str) -> str:
    """Return the application_name of every session that writes for a run; a takeover finds them by it."""
    return f"runbook {run_id} migration"


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right to write, as long as the database has the same fencing number."""

    run_id: str
    fence: int

    def check(self, cursor: Cursor) -> int | None:
        """Read the fencing number FOR SHARE: until this transaction ends no run can take over.

        :returns: the revision of the operator's command to this run; None without one.
        :raises RunbookError: another run has taken over.
        """
        row = queries.row(
            cursor,
            "SELECT l.fence, l.run_id, l.holder,"
            " (SELECT c.revision FROM migration_runbook.control c WHERE c.run_id = %s)"
            " FROM migration_runbook.lease l WHERE l.name = %s FOR SHARE OF l",
            (self.run_id, NAME),
        )
        if row is None or row[0] != self.fence:
            raise RunbookError(
                f"run {self.run_id} has lost its lease{f' to run {row[1]} ({row[2]})' if row else ''}: "
                "this session stops writing.",
                object_name="migration_runbook.lease",
                left_as="resumable",
                next_command="ansible-playbook playbooks/status.yml",
            )
        return None if row[3] is None else int(row[3])

    def beat(self, cursor: Cursor) -> None:
        """Write the heartbeat of this run, between batches and in its own transaction."""
        cursor.execute(
            "UPDATE migration_runbook.lease SET heartbeat_at = clock_timestamp() WHERE name = %s AND fence = %s",
            (NAME, self.fence),
        )


@contextmanager
def held(connection: Connection, run_id: str) -> Iterator[Lease]:
    """Hold the lease during a block. The journal must exist.

    Only its holder's sessions have that application_name, so the takeover does not end a call that is about to be
    refused. Further sessions are opened inside the block.

    :param connection: the session that holds the advisory lock; the server frees it when the session ends.
    :raises RunbookError: another run holds it, or sessions of an earlier one cannot be ended.
    """
    with connection.cursor() as cursor:
        require_standbys(cursor)
        if not queries.value(cursor, "SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", LOCK_KEY):
            raise _refusal(cursor)
        cursor.execute("SELECT pg_catalog.set_config('application_name', %s, false)", (application_name(run_id),))
    try:
        yield Lease(run_id, _take(connection, run_id))
    finally:
        if connection.closed == 0:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE migration_runbook.lease SET released_at = clock_timestamp() WHERE name = %s", (NAME,)
                )
                cursor.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", LOCK_KEY)


def _take(connection: Connection, run_id: str) -> int:
    """Raise the fencing number, end sessions of earlier runs, and return the number.

    A batch of an earlier run reads the number FOR SHARE, so raising it waits for the batch, at most for the session's
    lock_timeout; the batch's session is ended before the next attempt.
    """
    fence: int | None = None
    for _ in range(ROUNDS):
        try:
            fence = fence or _raise_fence(connection, run_id)
        except psycopg2.errors.LockNotAvailable:
            fence = None
        left = _end_sessions(connection)
        if fence is not None and not left:
            return fence
        time.sleep(ROUND_SECONDS)
    raise RunbookError(
        f"sessions of an earlier run are still open: pids {', '.join(map(str, left)) or 'unknown'}.",
        object_name="migration_runbook.lease",
        next_command=f"SELECT pg_terminate_backend({left[0] if left else '<pid>'}) as a role that may",
    )


def _raise_fence(connection: Connection, run_id: str) -> int:
    holder = f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()} process {os.getpid()}"
    with transaction(connection) as cursor:
        row = queries.row(
            cursor,
            "INSERT INTO migration_runbook.lease AS l (name, run_id, fence, holder, acquired_at, heartbeat_at)"
            " VALUES (%s, %s, 1, %s, clock_timestamp(), clock_timestamp()) ON CONFLICT (name) DO UPDATE SET"
            " run_id = excluded.run_id, fence = l.fence + 1, holder = excluded.holder, released_at = NULL,"
            " acquired_at = excluded.acquired_at, heartbeat_at = excluded.heartbeat_at RETURNING fence",
            (NAME, run_id, holder),
        )
    assert row is not None  # RETURNING of an upsert that always writes
    return int(row[0])


def _end_sessions(connection: Connection) -> list[int]:
    """Terminate sessions of earlier calls. Return those that still existed."""
    with transaction(connection) as cursor:
        # They belong to the login role; the role that this session acts as may not be allowed to end them.
        cursor.execute("SELECT pg_catalog.set_config('role', 'none', true)")
        cursor.execute(
            "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
            " WHERE datname = pg_catalog.current_database() AND usename = session_user"
            " AND pid <> pg_catalog.pg_backend_pid() AND application_name ~ '^runbook \\S+ migration'"
        )
        return [pid for pid, _ in cursor.fetchall()]


def require_free(cursor: Cursor) -> None:
    """Refuse while another session holds the lease, before anything is changed. The journal must exist.

    :raises RunbookError: with the holder of the lease.
    """
    who = _holder(cursor)
    if who is not None:
        raise _at_work(who)


def _refusal(cursor: Cursor) -> RunbookError:
    who = _holder(cursor)
    if who is None:
        return RunbookError(
            "another run held the lease a moment ago.", object_name=NAME, next_command="run the same command again"
        )
    return _at_work(who)


def _holder(cursor: Cursor) -> dict[str, Any] | None:
    cursor.execute(HOLDER, (NAME, *LOCK_KEY))
    rows = rows_as_dicts(cursor)
    return rows[0] if rows else None


def _at_work(who: Mapping[str, Any]) -> RunbookError:
    if not who["is_ours"]:
        return taken(who["pid"], who["user"], who["application"])
    return RunbookError(
        f"another run is active: run {who['run_id'] or 'unknown'} (session {who['pid']} of user {who['user']}, "
        f"application {who['application'] or '-'}, started by {who['holder'] or 'unknown'}) has held the lease for "
        f"{who['age_seconds']} s. Only one run may write at a time.",
        object_name=str(who["run_id"] or NAME),
        next_command="wait for it (playbooks/monitor.yml shows it), or end it: "
        f"SELECT pg_terminate_backend({who['pid']})",
    )


def taken(pid: int, user: str, application: str) -> RunbookError:
    """Return the refusal for a lock that a session outside any run holds: any session can take an advisory lock."""
    return RunbookError(
        f"session {pid} of user {user} (application {application or '-'}) holds the advisory lock of the runbook's "
        f"lease ({LOCK_KEY[0]}, {LOCK_KEY[1]}), and belongs to no run: no run can start until it releases the lock.",
        object_name=NAME,
        next_command=f"end that session: SELECT pg_terminate_backend({pid})",
    )


LOCK_HOLDER = """
SELECT a.pid, a.usename::text, coalesce(a.application_name, ''), a.usename IN (session_user, current_user)
  FROM pg_catalog.pg_locks k
  JOIN pg_catalog.pg_stat_activity a ON a.pid = k.pid
 WHERE k.locktype = 'advisory' AND k.classid = %s AND k.objid = %s AND k.granted
   AND k.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""


@contextmanager
def exclusive(connection: Connection, run_id: str) -> Iterator[Lease | None]:
    """Hold the lease, so that no migration writes meanwhile; without a journal, only its advisory lock (None).

    :raises RunbookError: another session holds it.
    """
    with connection.cursor() as cursor:
        if exists(cursor):
            with held(connection, run_id) as own:
                yield own
            return
        cursor.execute("SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", LOCK_KEY)
        if cursor.fetchone() != (True,):
            holder = queries.row(cursor, LOCK_HOLDER, LOCK_KEY)
            if holder is not None and not holder[3]:
                raise taken(*holder[:3])
            raise RunbookError(
                "another migration or restore is active in this database.",
                object_name=str(connection.info.dbname),
                next_command="wait until it has ended, then run this again",
            )
        try:
            yield None
        finally:
            if connection.closed == 0:
                cursor.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", LOCK_KEY)
