"""What the application wrote, in numbers: for whoever asks how things stand."""

from __future__ import annotations

from typing import Any

from psycopg2 import sql

from ..session.connection import Cursor, rows_as_dicts
from . import tables as log
from .since import WRITTEN

Facts = dict[str, Any]

EMPTY: Facts = {"exists": False, "since": None, "tables": []}

PER_TABLE = """
WITH written AS MATERIALIZED ({written})
SELECT w.table_name AS table, w.made_at,
       (SELECT count(*) FROM written n WHERE n.table_name = w.table_name AND NOT n.existed AND n.last_operation <> 'D')
       AS inserted,
       (SELECT count(*) FROM written n WHERE n.table_name = w.table_name AND n.existed AND n.last_operation <> 'D')
       AS updated,
       (SELECT count(*) FROM written n WHERE n.table_name = w.table_name AND n.existed AND n.last_operation = 'D')
       AS deleted,
       c.changes, c.truncations, c.last_at
  FROM migration_runbook.watch w
 CROSS JOIN LATERAL (
       SELECT count(*) AS changes, count(*) FILTER (WHERE operation = 'T') AS truncations, max(at) AS last_at
         FROM migration_runbook.change
        WHERE watch_id = w.id AND NOT pg_visible_in_snapshot(xid, {since}::pg_snapshot)) AS c
 WHERE w.ended_at IS NULL
 ORDER BY w.id
"""

#: A snapshot that sees nothing: everything in the log is newer.
SEES_NOTHING = "1:1:"


def summary(cursor: Cursor, visible: str = "", taken_at: str | None = None) -> Facts:
    """Return what the application wrote, read in the cursor's transaction. Works without a log.

    :param visible: what the data snapshot's transaction saw; empty takes everything that is in the log.
    """
    if not log.exists(cursor):
        return dict(EMPTY)
    since = sql.Literal(visible or SEES_NOTHING)
    cursor.execute(sql.SQL(PER_TABLE).format(written=sql.SQL(WRITTEN).format(since=since), since=since))
    tables = rows_as_dicts(cursor)
    made_at = max((table["made_at"] for table in tables), default=None)
    return {"exists": True, "since": taken_at if visible else made_at, "tables": tables}
