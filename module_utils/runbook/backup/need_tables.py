"""Stubs of tables and views of other schemas: the columns and keys that something refers to, and no rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2 import sql

from ..session.connection import Cursor, rows_as_dicts

Reference = tuple[str, int]  # catalog and object id

COLUMNS = """
SELECT a.attnum AS number, a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       a.atttypid AS type_id, CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation END AS collation_id,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

KEY_OF_INDEX = """
SELECT i.indrelid, i.indkey::int2[]::int[], i.indisprimary FROM pg_catalog.pg_index i WHERE i.indexrelid = %s
"""
KEY_OF_CONSTRAINT = """
SELECT conrelid, conkey::int[], contype = 'p' FROM pg_catalog.pg_constraint WHERE oid = %s AND contype IN ('p', 'u')
"""


class StubTable:
    """A table or view while it is found out what of it is needed."""

    def __init__(self, cursor: Cursor, number: int) -> None:
        cursor.execute(COLUMNS, (number,))
        self._known = {row["number"]: row for row in rows_as_dicts(cursor)}
        cursor.execute(
            "SELECT n.nspname::text, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
            "  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s",
            (number,),
        )
        row: Any = cursor.fetchone()
        self.schema, self.name = str(row[0]), str(row[1])
        self._wanted: dict[int, dict[str, Any]] = {}
        self._keys: dict[tuple[int, ...], bool] = {}

    def add_columns(self, numbers: Sequence[int] | None) -> list[Reference]:
        """Add some columns, or all; return what they need: types and collations."""
        new = [number for number in (numbers or self._known) if number in self._known and number not in self._wanted]
        self._wanted |= {number: self._known[number] for number in new}
        rows = [self._known[number] for number in new]
        found = [("pg_type", row["type_id"]) for row in rows]
        return found + [("pg_collation", row["collation_id"]) for row in rows if row["collation_id"]]

    def add_key(self, numbers: Sequence[int], primary: bool) -> list[Reference]:
        """Add a unique key with its columns; return what they need."""
        columns = [number for number in numbers if number > 0]
        self._keys[tuple(columns)] = self._keys.get(tuple(columns), False) or primary
        return self.add_columns(columns)

    def parts(self, cursor: Cursor) -> dict[str, Any]:
        """Return ``columns`` (for ADD COLUMN) and ``keys`` (names of columns, and whether it is the primary one)."""
        columns = []
        for _, row in sorted(self._wanted.items()):
            collation = f" COLLATE {row['collation']}" if row["collation"] else ""
            columns.append(f"{sql.Identifier(row['name']).as_string(cursor)} {row['type']}{collation}")
        keys = [
            {"columns": [self._known[number]["name"] for number in numbers], "primary": primary}
            for numbers, primary in self._keys.items()
        ]
        return {"columns": columns, "keys": keys}


def key_of_index(cursor: Cursor, number: int) -> tuple[int, list[int], bool] | None:
    """Return table, columns, and whether it is the primary key; None for what is no index."""
    return _key(cursor, KEY_OF_INDEX, number)


def key_of_constraint(cursor: Cursor, number: int) -> tuple[int, list[int], bool] | None:
    """Return the same of a unique or primary key; None for another constraint."""
    return _key(cursor, KEY_OF_CONSTRAINT, number)


def _key(cursor: Cursor, statement: str, number: int) -> tuple[int, list[int], bool] | None:
    cursor.execute(statement, (number,))
    row = cursor.fetchone()
    return (int(row[0]), list(row[1]), bool(row[2])) if row else None
