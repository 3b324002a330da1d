"""Nobody else writes for the time of a block, whether or not the database has a journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RunbookError
from ..session.connection import Connection
from . import lease
from .schema import exists

HOLDER = """
SELECT a.pid, a.usename::text, coalesce(a.application_name, ''), a.usename IN (session_user, current_user)
  FROM pg_catalog.pg_locks k
  JOIN pg_catalog.pg_stat_activity a ON a.pid = k.pid
 WHERE k.locktype = 'advisory' AND k.classid = %s AND k.objid = %s AND k.granted
   AND k.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""


@contextmanager
def alone(connection: Connection, run_id: str) -> Iterator[lease.Lease | None]:
    """Hold the lease, so that no migration writes meanwhile; without a journal its advisory lock alone (None).

    :raises RunbookError: somebody else is at work.
    """
    with connection.cursor() as cursor:
        if exists(cursor):
            with lease.held(connection, run_id) as held:
                yield held
            return
        cursor.execute("SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", lease.LOCK_KEY)
        if cursor.fetchone() != (True,):
            cursor.execute(HOLDER, lease.LOCK_KEY)
            holder = cursor.fetchone()
            if holder is not None and not holder[3]:
                raise lease.taken(*holder[:3])
            raise RunbookError(
                "another migration or restore is at work in this database.",
                object_name=str(connection.info.dbname),
                next_command="wait until it has ended, then run this again",
            )
        try:
            yield None
        finally:
            if connection.closed == 0:
                cursor.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", lease.LOCK_KEY)
