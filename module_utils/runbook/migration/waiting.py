"""Who stands in a step's way: told before the first try, while it waits, and when it is given up."""

from __future__ import annotations

from psycopg2 import sql

from ..session.connection import Cursor, rows_as_dicts
from . import locks
from .locks import Blocker
from .step_context import StepContext
from .steps import Step
from .told_watch import ToldWatch

#: A transaction of this age is worth telling of before a step wants a lock.
LONG_LIVED_SECONDS = 5.0

# Whoever holds a lock on one of the tables, or (for CONCURRENTLY) a snapshot that is older than the step will be.
LONG_LIVED = sql.SQL("""
SELECT DISTINCT ON (a.pid) {columns}
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
   AND l.relation = ANY (SELECT pg_catalog.to_regclass(t)::oid FROM unnest(%(tables)s::text[]) AS t)
 WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.datname = pg_catalog.current_database()
   AND coalesce(a.application_name, '') NOT LIKE 'runbook %%'
   AND a.xact_start < clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
   AND (l.pid IS NOT NULL OR %(snapshots)s AND a.backend_xmin IS NOT NULL)
 ORDER BY a.pid
""").format(columns=locks.BLOCKER_COLUMNS)


def long_lived(cursor: Cursor, tables: list[str], *, snapshots: bool) -> list[Blocker]:
    """Return the sessions that a step on these tables may have to wait for, as far as they can be seen now.

    :param snapshots: the step waits for every transaction with an older snapshot, not only for locks.
    """
    cursor.execute(
        LONG_LIVED,
        {"tables": tables, "seconds": LONG_LIVED_SECONDS, "snapshots": snapshots},
    )
    return rows_as_dicts(cursor)


def report_long_lived(context: StepContext, step: Step) -> None:
    """Put long-lived sessions in the way of a step into its result and onto the screen, before its first try."""
    tables = [lock.table for lock in step.locks]
    snapshots = step.kind == "concurrently"
    if not tables and not snapshots:
        return
    with context.observer.cursor() as cursor:
        found = long_lived(cursor, tables, snapshots=snapshots)
    if found:
        words = locks.in_words(found).replace("Blocked by", "In the way since before the first try:")
        context.reports[step.number] = words
        context.writer.write({**context.place(step.name), "kind": "lock", "state": "waiting", "reason": words})


class StepWatch(ToldWatch):
    """The same for the session of a step."""

    def __init__(self, context: StepContext, step: Step, kind: str, wait_seconds: float) -> None:
        place = context.place(step.name)
        super().__init__(context.observer, context.connection, wait_seconds, context.writer, place, kind)
