"""Who stands in a step's way: told before the first try, while it waits, and when it is given up."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import sql

from ..session.connection import Cursor, rows_as_dicts
from . import locks
from .locks import Blocker, BlockerWatch
from .step_context import StepContext
from .steps import Step

#: A transaction of this age is worth telling of before a step wants a lock.
LONG_LIVED_SECONDS = 5.0
#: How often a long step is told of.
TELL_SECONDS = 1.0

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

INDEX_PROGRESS = """
SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total
  FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s
"""


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


class StepWatch(BlockerWatch):
    """Watches the session of a step and tells the screen whom it waits for and how far an index is.

    :param kind: of the lines of progress.
    """

    def __init__(self, context: StepContext, step: Step, kind: str, wait_seconds: float) -> None:
        super().__init__(context.observer, context.connection, min(wait_seconds, TELL_SECONDS * 5))
        self._context = context
        self._step = step
        self._kind = kind
        self._told = ""

    def look(self, cursor: Cursor) -> None:
        """Look once: blockers, and for CONCURRENTLY the progress of an index."""
        super().look(cursor)
        row = self._index(cursor) if self._kind == "concurrently" else {}
        waits = self.present and locks.in_words(self.present)
        if not waits and not row:
            return
        reason = "; ".join(part for part in (row.get("phase") or "", waits or "") if part)
        blocks = row.get("blocks_total") or 0
        done, total = (row["blocks_done"], blocks) if blocks else (None, None)
        told = f"{reason} {done}"
        if told != self._told:
            self._told = told
            self._context.writer.write(
                {
                    **self._context.place(self._step.name),
                    "kind": self._kind,
                    "state": "waiting" if waits else "running",
                    "rows_done": done,
                    "rows_total": total,
                    "reason": reason,
                }
            )

    def _index(self, cursor: Cursor) -> dict[str, Any]:
        try:
            cursor.execute(INDEX_PROGRESS, (self.pid,))
            rows = rows_as_dicts(cursor)
        except psycopg2.Error as error:
            self.problem = str(error).strip()
            return {}
        return rows[0] if rows else {}
