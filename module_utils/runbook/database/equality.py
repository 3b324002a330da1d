"""Compare keys byte for byte, whatever a collation or an extension's type considers equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg2 import sql

from .connection import Cursor, identifier

Exact = Callable[[sql.Composable], sql.Composable]

#: Encodings whose bytes are in the order that the same characters have in UTF-8, and one without characters.
_IN_ORDER = ("UTF8", "LATIN1", "SQL_ASCII")

# Find the operator in the schemas that our sessions search; varchar uses that of text.
_PLAIN = """
SELECT coalesce(c.collisdeterministic, true)
       AND (t.typtype IN ('e', 'r', 'm') OR t.typelem <> 0 AND t.typlen = -1 OR t.oid = 1043 OR EXISTS (
            SELECT FROM pg_catalog.pg_operator o
             WHERE o.oprname = '=' AND o.oprnamespace = 'pg_catalog'::regnamespace
               AND o.oprleft = t.oid AND o.oprright = t.oid))
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
 WHERE a.attrelid = pg_catalog.to_regclass(%s) AND a.attname = %s AND NOT a.attisdropped
"""


def exact(cursor: Cursor, table: str, key: str) -> Exact:
    """Return the expression that compares a table's key for equality.

    This is the plain column, so that an index can be used, unless its collation treats different texts as equal or
    its operator belongs to an extension, which is not in our search path: then it is the bytes of the text.
    """
    cursor.execute(_PLAIN, (identifier(table).as_string(cursor), key))
    row: Any = cursor.fetchone()
    return (lambda value: value) if row is None or row[0] else text_bytes


def text_bytes(value: sql.Composable) -> sql.Composable:
    """Return a value's text, compared by its bytes."""
    return sql.SQL('({})::text COLLATE "C"').format(value)


def in_byte_order(cursor: Cursor, value: sql.Composable) -> sql.Composable:
    """Return the expression to order texts in the way that Python orders UTF-8."""
    encoding = cursor.connection.info.parameter_status("server_encoding")
    if encoding in _IN_ORDER:
        return text_bytes(value)
    return utf8_bytes(cursor, value)


def utf8_bytes(cursor: Cursor, value: sql.Composable) -> sql.Composable:
    """Return a value's text as bytes in UTF-8; of a database in SQL_ASCII the bytes that it stores."""
    encoding = cursor.connection.info.parameter_status("server_encoding")
    target = sql.Literal("SQL_ASCII" if encoding == "SQL_ASCII" else "UTF8")
    return sql.SQL("pg_catalog.convert_to(({})::text, {})").format(value, target)
