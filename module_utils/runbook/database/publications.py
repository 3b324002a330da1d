"""Read from the catalog which publications a table belongs to, and whether it can be removed from them."""

from __future__ import annotations

import dataclasses

from psycopg2 import sql

from .connection import Cursor, identifier, rows_as_dicts

# Those that publish no updates get no event from a backfill: they keep the table.
MEMBERS = """
SELECT b.pubname::text AS publication, n.nspname || '.' || c.relname AS "table",
       CASE WHEN r.prattrs IS NOT NULL THEN (
           SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) END AS columns,
       coalesce(pg_catalog.pg_get_expr(r.prqual, r.prrelid), '') AS row_filter
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication b ON b.oid = r.prpubid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE b.pubupdate AND r.prrelid = pg_catalog.to_regclass(%(table)s)
 ORDER BY 1
"""

NOT_REMOVABLE = """
WITH this AS (SELECT pg_catalog.to_regclass(%(table)s)::oid AS oid),
     ancestor AS (SELECT a.relid::oid AS oid FROM this, pg_catalog.pg_partition_ancestors(this.oid) AS a
                   WHERE a.relid <> this.oid),
     named AS (SELECT c.relnamespace, n.nspname FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid IN (SELECT oid FROM this UNION SELECT oid FROM ancestor))
SELECT b.pubname::text AS publication, why.reason
  FROM pg_catalog.pg_publication b
 CROSS JOIN LATERAL (
       SELECT 'it publishes all tables' AS reason WHERE b.puballtables
       UNION ALL
       SELECT 'it publishes every table of schema ' || named.nspname
         FROM named JOIN pg_catalog.pg_publication_namespace s ON s.pnnspid = named.relnamespace
        WHERE s.pnpubid = b.oid
       UNION ALL
       SELECT 'it publishes the table through ' || r.prrelid::regclass::text || ', which it is a partition of'
         FROM pg_catalog.pg_publication_rel r JOIN ancestor ON ancestor.oid = r.prrelid WHERE r.prpubid = b.oid
       UNION ALL
       SELECT 'it belongs to ' || pg_catalog.pg_get_userbyid(b.pubowner) || ', and ' || current_user
              || ' has not that role'
        WHERE NOT pg_catalog.pg_has_role(b.pubowner, 'USAGE')
          AND EXISTS (SELECT FROM pg_catalog.pg_publication_rel r JOIN this ON this.oid = r.prrelid
                       WHERE r.prpubid = b.oid)) AS why
 WHERE b.pubupdate AND EXISTS (SELECT FROM this WHERE oid IS NOT NULL)
 ORDER BY 1, 2
"""


@dataclasses.dataclass(frozen=True)
class Member:
    """A table in a publication.

    :param columns: that are published; None publishes all.
    :param row_filter: expression; empty publishes every row.
    """

    publication: str
    table: str
    columns: tuple[str, ...] | None = None
    row_filter: str = ""

    def drop(self) -> sql.Composable:
        """Return the statement that drops it; ONLY, because children of an inheritance are members of their own."""
        return sql.SQL("ALTER PUBLICATION {} DROP TABLE ONLY {}").format(
            sql.Identifier(self.publication), identifier(self.table)
        )

    def add(self) -> sql.Composable:
        """Return the statement that adds it back unchanged."""
        statement = sql.SQL("ALTER PUBLICATION {} ADD TABLE ONLY {}").format(
            sql.Identifier(self.publication), identifier(self.table)
        )
        if self.columns is not None:
            statement += sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, self.columns)))
        if self.row_filter:
            # As the server wrote it, in a session with the same search_path.
            statement += sql.SQL(" WHERE (") + sql.SQL(self.row_filter) + sql.SQL(")")
        return statement

    def to_text(self) -> str:
        """Name it for a message."""
        return f"{self.table} in publication {self.publication}"


def member_of(publication: str, table: str, columns: list[str] | None, row_filter: str) -> Member:
    """Return a member from a row of the catalog or the journal."""
    return Member(publication, table, None if columns is None else tuple(columns), row_filter)


def members(cursor: Cursor, table: str) -> list[Member]:
    """Return the publications that send updates of a table and name it."""
    cursor.execute(MEMBERS, {"table": identifier(table).as_string(cursor)})
    return [
        member_of(row["publication"], row["table"], row["columns"], row["row_filter"]) for row in rows_as_dicts(cursor)
    ]


def not_removable(cursor: Cursor, table: str) -> list[dict[str, str]]:
    """Return the publications that a table cannot be dropped from: ``publication`` and ``reason``."""
    cursor.execute(NOT_REMOVABLE, {"table": identifier(table).as_string(cursor)})
    return rows_as_dicts(cursor)
