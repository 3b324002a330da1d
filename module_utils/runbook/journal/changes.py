"""Find out what a run has committed, and close a run that has not changed the plan's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json

from ..database import queries
from ..database.connection import Connection, Cursor, transaction
from ..errors import RunbookError
from ..plain import to_plain
from .schema import exists

#: State of a run that ended without having changed the plan's tables.
ABANDONED = "abandoned"

#: Final states: the run cannot continue, and nothing is left to roll back.
OVER = ("rolled_back", ABANDONED)

# A step's row is of the transaction that ran it. CREATE INDEX CONCURRENTLY leaves an index where it fails, so its
# intent counts. A table that is outside its publication must be added back.
CHANGED = """
SELECT EXISTS (SELECT FROM migration_runbook.step
                WHERE run_id = %(run_id)s AND changed_tables AND (state = 'done' OR kind = 'concurrently'))
    OR EXISTS (SELECT FROM migration_runbook.batch WHERE run_id = %(run_id)s)
    OR EXISTS (SELECT FROM migration_runbook.publication_removal
                WHERE run_id = %(run_id)s AND put_back_at IS NULL)
    OR EXISTS (SELECT FROM migration_runbook.event WHERE run_id = %(run_id)s AND phase = 'restored')
"""

# Locks of tables stay until the transaction ends.
HELD = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
       AND l.mode = ANY (%(modes)s)
       AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'migration_runbook', 'supabase_migrations')
       AND n.nspname <> %(besides)s)
"""
#: Writing rows takes this lock.
WRITES = ("RowExclusiveLock",)
#: Changing the definition of a table takes one of these.
CHANGES = ("ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")

# Between two commands of a run, no session has its name. During a backup, pg_dump and its snapshot session do.
SESSIONS = """
SELECT pid FROM pg_catalog.pg_stat_activity
 WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
   AND pg_catalog.strpos(application_name, %s) > 0
 ORDER BY pid
"""


def has_changed(cursor: Cursor, run_id: str) -> bool:
    """Return whether a run has committed a change of a table other than the runbook's own. Works without a journal.

    The journal, the change log and the plan's helper schema do not count.
    """
    if not exists(cursor):
        return False
    return bool(queries.value(cursor, CHANGED, {"run_id": run_id}))


def touches_tables(cursor: Cursor, helper_schema: str) -> bool:
    """Return whether this transaction has written or altered a table outside the runbook's own schemas."""
    return bool(queries.value(cursor, HELD, {"modes": [*WRITES, *CHANGES], "besides": helper_schema}))


def writes_rows(cursor: Cursor) -> bool:
    """Return whether this transaction has written rows of a table, the plan's helper schema included."""
    return bool(queries.value(cursor, HELD, {"modes": [*WRITES], "besides": ""}))


def require_idle(cursor: Cursor, run: Mapping[str, Any]) -> None:
    """Refuse while a command of this run is running.

    :raises RunbookError: a session has the run's application_name.
    """
    cursor.execute(SESSIONS, (run["run_id"],))
    pids = [pid for (pid,) in cursor.fetchall()]
    if pids:
        raise RunbookError(
            f"a command of run {run['run_id']} is still running (session {', '.join(map(str, pids))}).",
            object_name=run["run_id"],
            next_command="wait until it has ended, then run the same command again",
        )


def abandon(cursor: Cursor, run_id: str, reason: str, details: Mapping[str, Any] | None = None) -> None:
    """Close an open run that has not changed the plan's tables. The caller holds the lease.

    The next run recreates what its steps left in the helper schema: each step can run twice.

    :raises RunbookError: the run has changed tables, so it must be resumed or rolled back.
    """
    if has_changed(cursor, run_id):
        raise RunbookError(
            f"run {run_id} has changed tables of the plan: finish it or roll it back; it cannot be closed.",
            object_name=run_id,
            next_command="ansible-playbook playbooks/status.yml",
        )
    cursor.execute(
        "UPDATE migration_runbook.step SET superseded_at = now() WHERE run_id = %s AND superseded_at IS NULL", (run_id,)
    )
    cursor.execute(
        "INSERT INTO migration_runbook.event (run_id, phase, status, details) VALUES (%s, %s, 'ok', %s)",
        (run_id, ABANDONED, Json(to_plain({"reason": reason, **(details or {})}))),
    )
    cursor.execute(
        "UPDATE migration_runbook.run SET state = %s, finished_at = now() WHERE run_id = %s AND state = 'open'",
        (ABANDONED, run_id),
    )


def abandon_now(connection: Connection, run_id: str, reason: str) -> None:
    """Like abandon(), in its own transaction."""
    with transaction(connection) as cursor:
        abandon(cursor, run_id, reason)
