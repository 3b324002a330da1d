"""Nobody else writes for the time of a block, whether or not the database has a journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RunbookError
from ..session.connection import Connection
from . import lease
from .schema import exists


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
