"""What the planner knows of the table that is walked."""

from __future__ import annotations

from psycopg2 import sql

from ..journal.steps import Work
from ..session.connection import Cursor, identifier

#: Every column was looked at some time, and the table since this migration began (all of it or some columns).
KNOWN = """
SELECT greatest(t.last_analyze, t.last_autoanalyze) >= (
           SELECT min(s.started_at) FROM migration_runbook.step AS s
            WHERE s.run_id = %(run)s AND s.version = %(version)s AND s.direction = %(direction)s
              AND s.superseded_at IS NULL
       )
   AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = t.relid AND a.attnum > 0 AND NOT a.attisdropped
              AND NOT EXISTS (
                      SELECT FROM pg_catalog.pg_stats AS known
                       WHERE known.schemaname = t.schemaname AND known.tablename = t.relname
                         AND known.attname = a.attname
                  )
       )
  FROM pg_catalog.pg_stat_all_tables AS t
 WHERE t.relid = pg_catalog.to_regclass(%(table)s)
"""


def refresh(cursor: Cursor, table: str, work: Work) -> None:
    """Give the planner the table as it is, unless a step of the same migration has done so.

    A column just added has no statistics, and a batch is then planned through its index over every row that is left,
    which makes the walk quadratic.
    """
    cursor.execute(KNOWN, {"run": work.run_id, "version": work.version, "direction": work.direction, "table": table})
    row = cursor.fetchone()
    if not (row and row[0]):
        cursor.execute(sql.SQL("ANALYZE {}").format(identifier(table)))
