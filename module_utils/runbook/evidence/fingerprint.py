"""Additive, order-independent fingerprints of rows, and a hash per row to name those that differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor, identifier
from ..database.equality import in_byte_order, text_bytes
from ..errors import RunbookError

#: Recorded with every snapshot: fingerprints of different methods cannot be compared.
METHOD = "hash_record_extended-2"

#: Types whose own hash detects every stored difference, by object id in pg_type.
_HASHED_AS_THEY_ARE = {16: "boolean", 17: "bytea", 21: "smallint", 23: "integer", 1082: "date", 2950: "uuid"}
_HASHED_AS_TEXT_BYTES = {25: "text", 1043: "character varying"}
#: Types whose own hash folds 64 bits to 32: hashed by their binary form, much cheaper than their text.
_HASHED_BY_BINARY_FORM = {20: "int8send", 701: "float8send", 1083: "time_send", 1114: "timestamp_send"}
_HASHED_BY_BINARY_FORM |= {1184: "timestamptz_send", 790: "cash_send"}
#: character(n): a cast to text strips its trailing blanks.
_PADDED = 1042


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Number of rows, and the sum of one 64-bit hash per row. Fingerprints of disjoint row sets add up."""

    rows: int
    total: int

    def __add__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.rows + other.rows, self.total + other.total)

    def __sub__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.rows - other.rows, self.total - other.total)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the fingerprinted rows: its name, and its type's object id and name."""

    name: str
    type_id: int
    type_name: str


def source_of(table: str | None, query: str | None) -> sql.Composable:
    """Return the rows to hash as a subquery: those of a table or of a query.

    :raises RunbookError: the text does not contain exactly one statement.
    """
    if table:
        return sql.SQL("(SELECT * FROM {})").format(identifier(table))
    import pglast  # here: only queries need it, and loading it is slow

    statements = pglast.split(query or "")
    if len(statements) != 1:
        raise RunbookError(f"a fingerprint's query must be one statement; this is {len(statements)}: {query}.")
    return sql.SQL("({}\n)").format(sql.SQL(statements[0]))


def columns_of(cursor: Cursor, source: sql.Composable) -> list[Column]:
    """Return the columns of the rows, in their order."""
    cursor.execute(sql.SQL("SELECT * FROM {} AS r LIMIT 0").format(source))
    described = [(column.name, column.type_code) for column in cursor.description or ()]
    cursor.execute(
        "SELECT t.oid, pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type t WHERE t.oid = ANY (%s)",
        ([type_id for _, type_id in described],),
    )
    names: Mapping[int, str] = dict(cursor.fetchall())
    return [Column(name, type_id, names[type_id]) for name, type_id in described]


def row_hash(columns: Sequence[Column], alias: str) -> sql.Composable:
    """Return the expression for a row's hash: 64 bits, other for any other stored value of any column.

    hash_record_extended alone would be linear in its columns: two rows that swap a value would keep their sum.
    Hashing its result again prevents that. Types with an equality wider than identity (numeric, citext, json,
    arrays, enums …) go in as text.
    """
    values = sql.SQL(", ").join(_exact(column, sql.Identifier(alias, column.name)) for column in columns)
    return sql.SQL("hashtextextended(hash_record_extended(ROW({}), 0)::text, 0)").format(values)


def fingerprint(cursor: Cursor, source: sql.Composable, columns: Sequence[Column]) -> Fingerprint:
    """Compute a fingerprint on the server: one pass over the rows, in parallel where the server chooses to."""
    cursor.execute(
        sql.SQL("SELECT count(*), coalesce(sum({}), 0)::text FROM {} AS r").format(row_hash(columns, "r"), source)
    )
    row = cursor.fetchone() or (0, "0")
    return Fingerprint(row[0], int(row[1]))


def keyed_hashes(cursor: Cursor, source: sql.Composable, columns: Sequence[Column], key: str) -> sql.Composable:
    """Return the query for (key as text, hash), in the order of the key's bytes in UTF-8."""
    name = sql.Identifier("r", key)
    return sql.SQL("SELECT {} AS key, {} AS hash FROM {} AS r ORDER BY {}").format(
        text_bytes(name), row_hash(columns, "r"), source, in_byte_order(cursor, name)
    )


def _exact(column: Column, value: sql.Composable) -> sql.Composable:
    """Return the column in a form whose hash detects every stored difference."""
    if column.type_id in _HASHED_AS_THEY_ARE:
        return value
    if column.type_id in _HASHED_BY_BINARY_FORM:
        return sql.SQL("{}({})").format(sql.Identifier(_HASHED_BY_BINARY_FORM[column.type_id]), value)
    if column.type_id in _HASHED_AS_TEXT_BYTES:
        return sql.SQL('{} COLLATE "C"').format(value)
    if column.type_id == _PADDED:
        return sql.SQL('CASE WHEN {0} IS NOT NULL THEN pg_catalog.concat({0}) COLLATE "C" END').format(value)
    return text_bytes(value)


def as_column(recorded: Mapping[str, Any]) -> Column:
    """Return a column as a snapshot recorded it."""
    return Column(recorded["name"], recorded["type_id"], recorded["type_name"])
