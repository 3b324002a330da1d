"""Read what the application wrote since a snapshot, by table and key, from the log."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg2 import sql

from ..database import queries
from ..database.connection import Cursor, rows_as_dicts
from ..database.equality import exact, in_byte_order, text_bytes
from ..database.identity import identity
from ..database.queries import one_row
from ..errors import driver_errors
from . import change_log_tables as log
from . import change_log_triggers
from .change_log_tables import relations
from .fingerprint import Column, Fingerprint, row_hash
from .row_difference import WrittenRow

NO_ROWS = Fingerprint(0, 0)

#: Rows fetched at a time.
_FETCH = 10_000


@dataclasses.dataclass(frozen=True)
class Writes:
    """What the application wrote to the rows of one fingerprint.

    :param old: fingerprint of the written rows before; ``new``: as they are now.
    :param rows: query for their keys and old hashes, in order; None if nothing was written.
    :param unknown: why the log does not cover it; empty if it does.
    """

    old: Fingerprint = NO_ROWS
    new: Fingerprint = NO_ROWS
    rows: sql.Composable | None = None
    unknown: str = ""

    def stream(self, cursor: Cursor, name: str) -> Iterator[WrittenRow]:
        """Fetch the written rows through a server-side cursor of this name."""
        if self.rows is None:
            return
        cursor_name = sql.Identifier(name)
        cursor.execute(sql.SQL("DECLARE {} NO SCROLL CURSOR FOR {}").format(cursor_name, self.rows))
        while True:
            cursor.execute(sql.SQL("FETCH FORWARD {} FROM {}").format(sql.Literal(_FETCH), cursor_name))
            rows = cursor.fetchall()
            if not rows:
                break
            yield from ((key.encode(errors="surrogateescape"), hashes) for key, hashes in rows)
        cursor.execute(sql.SQL("CLOSE {}").format(cursor_name))


@dataclasses.dataclass(frozen=True)
class CountWrites:
    """By how much the application's writes changed a count, or why that is unknown."""

    moved: Any = 0
    unjudged: str = ""
    unknown: str = ""


#: Types whose keys can be looked up by their text with an index.
_FROM_TEXT = {"uuid", "integer", "bigint", "smallint", "text"}

#: One row per written row. ``existed``: before the first change. What a trigger's statements write is logged before the
#: statement that fired it: an insert without a delete before it came first, whatever its number.
WRITTEN = """
SELECT w.table_name, g.key, g.existed, CASE WHEN g.existed THEN g.old_values END AS old_values,
       CASE WHEN g.existed THEN g.old_hash END AS old_hash, g.old_hashes, g.last_operation
  FROM (SELECT s.watch_id, s.key,
               coalesce(min(s.id) FILTER (WHERE s.operation = 'I' AND s.xid = s.first_xid), 9223372036854775807)
               >= coalesce(min(s.id) FILTER (WHERE s.operation = 'D' AND s.xid = s.first_xid), 9223372036854775807)
               AS existed,
               (array_agg(s.old_values ORDER BY s.id) FILTER (WHERE s.operation <> 'I'))[1] AS old_values,
               (array_agg(s.old_hash ORDER BY s.id) FILTER (WHERE s.operation <> 'I'))[1] AS old_hash,
               array_agg(s.old_hash ORDER BY s.id) FILTER (WHERE s.xid = s.first_xid) AS old_hashes,
               (array_agg(s.operation ORDER BY s.id DESC))[1] AS last_operation
          FROM (SELECT c.*, first_value(c.xid) OVER (PARTITION BY c.watch_id, c.key ORDER BY c.id) AS first_xid
                  FROM migration_runbook.change c
                 WHERE c.key IS NOT NULL AND NOT pg_visible_in_snapshot(c.xid, {since}::pg_snapshot)) AS s
         GROUP BY s.watch_id, s.key) AS g
  JOIN migration_runbook.watch w ON w.id = g.watch_id AND w.ended_at IS NULL
"""

PER_TABLE = """
SELECT w.table_name, w.key, w.columns, w.id, pg_visible_in_snapshot(w.made_in, {since}::pg_snapshot) AS in_time,
       count(c.id) AS changes, coalesce(bool_or(c.operation = 'T'), false) AS truncated,
       coalesce(bool_or(c.key IS NULL AND c.operation <> 'T'), false) AS nameless
  FROM migration_runbook.watch w
  LEFT JOIN migration_runbook.change c
         ON c.watch_id = w.id AND NOT pg_visible_in_snapshot(c.xid, {since}::pg_snapshot)
 WHERE w.ended_at IS NULL
 GROUP BY w.id
"""


class ChangeLog:
    """The log since one snapshot, read in the cursor's transaction."""

    def __init__(self, cursor: Cursor, since: str) -> None:
        self._cursor = cursor
        self._since = sql.Literal(since)
        cursor.execute(sql.SQL(PER_TABLE).format(since=self._since))
        self._tables = {row["table_name"]: row for row in rows_as_dicts(cursor)}
        self._intact = {
            name: change_log_triggers.intact(cursor, row["id"], log.logged_table_of(row))
            for name, row in log.current(cursor).items()
        }

    def with_cursor(self, cursor: Cursor) -> ChangeLog:
        """Return the same log, read by another cursor of the same instant: two threads cannot share one."""
        other = copy.copy(self)
        other._cursor = cursor
        return other

    def of_fingerprint(self, entry: Mapping[str, Any], source: sql.Composable, columns: Sequence[Column]) -> Writes:
        """Return what was written to the rows of a fingerprint as the snapshot records it."""
        if entry["table"]:
            unknown = self._unknown(entry["table"], entry["key"], columns)
            if unknown or not self._tables[entry["table"]]["changes"]:
                return Writes(unknown=unknown)
            return self._of_table(entry, source, columns)
        written = any(row["changes"] for row in self._tables.values())
        if not written and not entry.get("by_application"):
            return Writes()
        # Even without any change: the query may return rows that only the plan's tables distinguish from others.
        unknown = "; ".join(filter(None, (self._unknown(name) for name in self._tables if written)))
        if not entry.get("by_application"):
            unknown = "the plan does not define which of its rows the application's changes affect (by_application)"
        if unknown:
            return Writes(unknown=unknown)
        keys = sql.SQL(
            'SELECT DISTINCT (q.k)::text COLLATE "C" AS k FROM ({}\n) AS q (k) WHERE q.k IS NOT NULL'
        ).format(sql.SQL(entry["by_application"]))
        in_order = in_byte_order(self._cursor, sql.Identifier("d", "k"))
        return Writes(
            rows=sql.SQL("{} SELECT d.k, NULL FROM ({}) AS d ORDER BY {}").format(self._with(), keys, in_order)
        )

    def of_count(self, entry: Mapping[str, Any]) -> CountWrites:
        """Return what the application's writes did to a count, as the snapshot records it."""
        read = [name for name in relations(entry["query"]) if name in self._tables]
        written = [name for name in read if self._tables[name]["changes"]]
        unknown = "; ".join(filter(None, (self._unknown(name) for name in written)))
        if unknown or not written:
            return CountWrites(unknown=unknown)
        if not entry.get("by_application"):
            number = sum(self._tables[name]["changes"] for name in written)
            return CountWrites(
                unjudged=f"not judged: the application made {number} changes to {', '.join(written)}, and the plan "
                "does not define their effect on it (by_application)"
            )
        with driver_errors(f"the query by_application of the count {entry['name']}", object_name=entry["name"]):
            text = sql.SQL("{} SELECT q.n FROM ({}\n) AS q (n)").format(self._with(), sql.SQL(entry["by_application"]))
            row = one_row(self._cursor, text.as_string(self._cursor))
        return CountWrites(moved=row["n"])

    def _of_table(self, entry: Mapping[str, Any], source: sql.Composable, columns: Sequence[Column]) -> Writes:
        table = sql.Literal(entry["table"])
        (key,) = (column for column in columns if column.name == entry["key"])
        # A lookup by the key's own type can use its index.
        name, typed = sql.Identifier("r", key.name), sql.SQL("w.key::{}").format(sql.SQL(key.type_name))
        by_type = key.type_name in _FROM_TEXT and exact(self._cursor, entry["table"], key.name)(name) is name
        here, there = (name, typed) if by_type else (text_bytes(name), sql.SQL("w.key"))
        old = self._sum(
            sql.SQL(
                "{} SELECT count(w.old_hash), coalesce(sum(w.old_hash), 0)::text FROM written AS w"
                " WHERE w.table_name = {}"
            ).format(self._with(), table)
        )
        new = self._sum(
            sql.SQL(
                "{} SELECT count(*), coalesce(sum({}), 0)::text FROM {} AS r"
                " WHERE {} IN (SELECT {} FROM written AS w WHERE w.table_name = {})"
            ).format(self._with(), row_hash(columns, "r"), source, here, there, table)
        )
        rows = sql.SQL("{} SELECT w.key, w.old_hashes FROM written AS w WHERE w.table_name = {} ORDER BY {}")
        in_order = in_byte_order(self._cursor, sql.Identifier("w", "key"))
        return Writes(old, new, rows.format(self._with(), table, in_order))

    def _with(self) -> sql.Composable:
        return sql.SQL("WITH written AS MATERIALIZED ({})").format(sql.SQL(WRITTEN).format(since=self._since))

    def _sum(self, statement: sql.Composable) -> Fingerprint:
        row: Any = queries.row(self._cursor, statement)
        return Fingerprint(row[0], int(row[1]))

    def _unknown(self, table: str, key: str = "", columns: Sequence[Column] = ()) -> str:
        """Return why the log does not cover what the application wrote to a table, or empty text."""
        row = self._tables.get(table)
        if row is None:
            return f"{table} has no change log"
        recorded = [(column["name"], column["type_name"]) for column in row["columns"]]
        if not row["in_time"]:
            return f"the change log of {table} began after the snapshot"
        if not self._intact[table]:
            return f"the change log's triggers on {table} were dropped, disabled or replaced"
        if row["truncated"]:
            return f"{table} was truncated, so its rows cannot be compared one by one"
        if row["nameless"]:
            return f"the key column of {table} no longer exists"
        if columns and (key, recorded) != (row["key"], [(column.name, column.type_name) for column in columns]):
            return f"the change log of {table} covers a different key or different columns than the snapshot"
        return ""


def open_log(cursor: Cursor, snapshot: Mapping[str, Any]) -> ChangeLog | None:
    """Return the log since this snapshot; None if there is none, or the snapshot is of another database or version."""
    server = snapshot["server"]
    here = identity(cursor)
    same = all(server.get(name) == here[name] for name in ("system_identifier", "database"))
    if not same or not server.get("visible") or not log.exists(cursor):
        return None
    return ChangeLog(cursor, server["visible"])


Facts = dict[str, Any]

EMPTY: Facts = {"exists": False, "since": None, "tables": []}

WRITTEN_PER_TABLE = """
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

#: A snapshot that sees nothing, so everything in the log is newer.
SEES_NOTHING = "1:1:"


def summary(cursor: Cursor, visible: str = "", taken_at: str | None = None) -> Facts:
    """Return what the application wrote, read in the cursor's transaction. Works without a log.

    :param visible: what the data snapshot's transaction saw; empty takes everything that is in the log.
    """
    if not log.exists(cursor):
        return dict(EMPTY)
    since = sql.Literal(visible or SEES_NOTHING)
    cursor.execute(sql.SQL(WRITTEN_PER_TABLE).format(written=sql.SQL(WRITTEN).format(since=since), since=since))
    tables = rows_as_dicts(cursor)
    made_at = max((table["made_at"] for table in tables), default=None)
    return {"exists": True, "since": taken_at if visible else made_at, "tables": tables}
