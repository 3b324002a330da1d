"""Who holds the lock of a swap."""

from __future__ import annotations

from ..errors import RunbookError
from ..session.connection import Cursor

HOLDER = """
SELECT a.pid, a.usename::text, a.application_name
  FROM pg_catalog.pg_locks k JOIN pg_catalog.pg_stat_activity a ON a.pid = k.pid
 WHERE k.locktype = 'advisory' AND k.granted AND k.classid::bigint = %s
   AND k.objid::bigint = (pg_catalog.hashtext(%s)::bigint & 4294967295)
"""


def at_work(cursor: Cursor, lock_class: int, database: str) -> RunbookError:
    """Return the refusal of a second swap. Any session can take an advisory lock, so the holder is named."""
    cursor.execute(HOLDER, (lock_class, database))
    pid, user, application = cursor.fetchone() or ("unknown", "unknown", "")
    return RunbookError(
        f"another restore by swap of {database} is at work: session {pid} of user {user} "
        f"(application {application or '-'}) holds its advisory lock.",
        object_name=database,
        next_command="wait until it has ended, then type the same command again; where that session is no restore, "
        f"end it: SELECT pg_terminate_backend({pid})",
    )
