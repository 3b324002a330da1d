"""Tables whose rows a dump of some schemas holds: their columns, and how many rows they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg2 import sql

from ..session.connection import Cursor, identifier

# Extension members are left out: pg_dump leaves their rows to CREATE EXTENSION.
TABLES = """
SELECT c.oid, n.nspname || '.' || c.relname,
       coalesce(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '{}'),
       coalesce(pg_catalog.array_agg(pg_catalog.format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
                FILTER (WHERE a.attname IS NOT NULL), '{}')
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relkind = 'r' AND n.nspname = ANY (%s)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 GROUP BY c.oid, n.nspname, c.relname
 ORDER BY n.nspname, c.relname
"""


@dataclasses.dataclass(frozen=True)
class DumpedTable:
    """A table.

    :param columns: name → type, without generated columns: those are in no dump.
    """

    object_id: int
    name: str
    columns: dict[str, str]


def dumped_tables(cursor: Cursor, schemas: Sequence[str]) -> list[DumpedTable]:
    """Return the tables of these schemas whose rows pg_dump writes, by name."""
    cursor.execute(TABLES, (list(schemas),))
    return [
        DumpedTable(object_id, name, dict(zip(columns, types, strict=True)))
        for object_id, name, columns, types in cursor.fetchall()
    ]


def existing_schemas(cursor: Cursor, schemas: Sequence[str]) -> list[str]:
    """Return those of the schemas that exist, in the order given, each once."""
    cursor.execute("SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)", (list(schemas),))
    there = {name for (name,) in cursor.fetchall()}
    return [name for name in dict.fromkeys(schemas) if name in there]


def row_count(cursor: Cursor, table: str) -> int:
    """Count a table's own rows (not those of tables that inherit from it: they are dumped with their own table)."""
    cursor.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(identifier(table)))
    row = cursor.fetchone()
    return int(row[0]) if row else 0
