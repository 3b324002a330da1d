"""The row hashes of a fingerprint: a file with the key and the hash of every row, written in any order.

The server puts many rows into one value, so no single row is handled while a snapshot is taken. A table with a unique
index on its key is read by ranges of blocks, which several sessions share. All other rows are read at once, and the
server checks that their keys are unique. The rows are sorted only if a comparison has to list those that differ.
"""

from __future__ import annotations

import heapq
import itertools
import os
import struct
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import psycopg2
from psycopg2 import sql

from ..database.connection import Cursor, identifier
from ..database.equality import utf8_bytes
from ..database.queries import read_query, row, value
from ..errors import RunbookError, driver_errors
from ..private_files import private_file
from ..visible import visible
from .fingerprint import Column, Fingerprint, as_column, columns_of, row_hash, source_of

#: Blocks read by one statement: some ten thousand rows, a megabyte or two of keys and hashes.
BLOCKS_AT_A_TIME = 1024

#: Rows that are not read by blocks, in one value.
ROWS_AT_A_TIME = 32_768

#: Rows sorted in memory at a time.
ROWS_IN_MEMORY = 200_000

_LENGTH, _HASH = struct.Struct(">I"), struct.Struct(">q")


class KeyForm(NamedTuple):
    """How a key is stored.

    :ivar packed: SQL for the bytes of ``key``.
    :ivar size: number of bytes; 0: the length precedes the key.
    :ivar text: makes the key's text in UTF-8 from the bytes.
    """

    packed: str
    size: int
    text: Callable[[bytes], bytes]


def _integer(packed: bytes) -> bytes:
    return b"%d" % int.from_bytes(packed, "big", signed=True)


def _uuid(packed: bytes) -> bytes:
    return str(uuid.UUID(bytes=packed)).encode()


#: By the type's object id in pg_type: half the bytes and half the time of a key's text.
_BINARY = {
    20: KeyForm("int8send(key)", 8, _integer),
    21: KeyForm("int2send(key)", 2, _integer),
    23: KeyForm("int4send(key)", 4, _integer),
    2950: KeyForm("uuid_send(key)", 16, _uuid),
}
_TEXT = KeyForm("int4send(octet_length(key)) || key", 0, bytes)

#: Types whose distinct values, for a unique index, never have the same text: those above, text and varchar.
_UNIQUE_AS_TEXT = {*_BINARY, 25, 1043}

#: A whole table (no partitions, no children) with a unique index on the key alone, which is never null.
UNIQUE_KEY = """
SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint AS blocks
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname = 'heap'
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = %(key)s AND a.attnotnull
 WHERE c.oid = pg_catalog.to_regclass(%(table)s) AND c.relkind = 'r' AND NOT c.relhassubclass
   AND EXISTS (SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                  AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
"""

BLOCKS = """
SELECT count(*), coalesce(sum(hash), 0)::text, string_agg({packed} || int8send(hash), ''::bytea)
  FROM (SELECT {key} AS key, {hash} AS hash FROM {table} AS r
         WHERE r.ctid >= {first}::tid AND ({after} IS NULL OR r.ctid < {after}::tid)
        OFFSET 0) AS rows -- the hash is computed once, not once per use
"""

ROWS = """
SELECT count(*), sum(hash)::text, string_agg({packed} || int8send(hash), ''::bytea),
       count(*) FILTER (WHERE key IS NULL), (array_agg(key) FILTER (WHERE repeated))[1]
  FROM (SELECT key, hash, key = lag(key) OVER by_key AS repeated, row_number() OVER by_key / {rows} AS part
          FROM (SELECT {key} AS key, {hash} AS hash FROM {source} AS r OFFSET 0) AS hashed
        WINDOW by_key AS (ORDER BY key)) AS numbered
 GROUP BY part
"""

#: A range of blocks, the last one open (None); or None for all rows at once.
Part = tuple[int, int | None] | None


class RowHashes:
    """A fingerprint that is being taken.

    :ivar parts: what to read, in any order.
    """

    def __init__(self, cursor: Cursor, definition: Mapping[str, Any], directory: str) -> None:
        """:raises RunbookError: the query failed, or its rows have no such key."""
        self._definition = definition
        self._name, self._key = definition["name"], definition["key"]
        self._table = definition.get("table") or None
        self._text, self._by_application = (
            read_query(definition[part]) if definition.get(part) else None for part in ("query", "by_application")
        )
        with driver_errors(f"the fingerprint {self._name}", object_name=self._table or self._name):
            self._source = source_of(self._table, self._text)
            self._columns = columns_of(cursor, self._source)
            types = {column.name: column.type_id for column in self._columns}
            if self._key not in types:
                raise RunbookError(
                    f"the fingerprint {self._name}: the rows have no column {self._key}, its key.",
                    object_name=self._name,
                )
            self._form = _form_of(self._columns, self._key)
            self.parts: Sequence[Part] = [None]
            if self._table and types[self._key] in _UNIQUE_AS_TEXT:
                self.parts = _block_ranges(cursor, self._table, self._key) or [None]
        self._path = os.path.join(directory, f"{self._name}.hashes")
        self._writing = threading.Lock()
        self._found = Fingerprint(0, 0)
        with private_file(self._path):
            pass

    def read(self, cursor: Cursor, part: Part) -> None:
        """Read one part, and write its hashes.

        :raises RunbookError: the query failed, or the key is null or not unique.
        """
        with driver_errors(f"the fingerprint {self._name}", object_name=self._table or self._name):
            try:
                if part is None:
                    self._read_all(cursor)
                else:
                    self._read_blocks(cursor, part)
            except psycopg2.errors.UndefinedFunction as error:
                text = f"the fingerprint {self._name}: {error.diag.message_primary}."
                raise RunbookError(text, object_name=self._name) from error

    def entry(self) -> dict[str, Any]:
        """Return what snapshot.json keeps, after every part was read."""
        return {
            "name": self._name,
            "table": self._table,
            "query": self._text,
            "key": self._key,
            "after_migration": self._definition.get("after_migration") or "equal",
            "by_application": self._by_application,
            "columns": [
                {"name": column.name, "type_id": column.type_id, "type_name": column.type_name}
                for column in self._columns
            ],
            "rows": self._found.rows,
            # As text: other JSON readers cannot represent the sum of 64-bit hashes as a number.
            "total": str(self._found.total),
            "hashes": os.path.basename(self._path),
        }

    def _read_blocks(self, cursor: Cursor, blocks: tuple[int, int | None]) -> None:
        first, after = (None if block is None else f"({block},0)" for block in blocks)
        table = identifier(str(self._table))
        found = row(cursor, self._statement(cursor, BLOCKS, table=table, first=first, after=after))
        self._add(*(found or ()))

    def _read_all(self, cursor: Cursor) -> None:
        # With a server-side cursor, so that only one value is in memory at a time.
        cursor.execute(
            sql.SQL("DECLARE packed_rows NO SCROLL CURSOR FOR {}").format(
                self._statement(cursor, ROWS, source=self._source, rows=ROWS_AT_A_TIME)
            )
        )
        while found := row(cursor, "FETCH packed_rows"):
            *rows, nulls, repeated = found
            if nulls or repeated is not None:
                what = "null" if nulls else f"not unique: {self._repeated(repeated)} appears twice"
                raise RunbookError(f"the key {self._key} is {what}; a fingerprint needs one row per key.")
            self._add(*rows)
        cursor.execute("CLOSE packed_rows")

    def _repeated(self, key: Any) -> str:
        return visible(bytes(key).decode("utf-8", "replace") if self._form is _TEXT else str(key))

    def _statement(self, cursor: Cursor, text: str, **parts: Any) -> sql.Composed:
        key: sql.Composable = sql.Identifier("r", self._key)
        return sql.SQL(text).format(
            packed=sql.SQL(self._form.packed),
            key=utf8_bytes(cursor, key) if self._form is _TEXT else key,
            hash=row_hash(self._columns, "r"),
            **{name: part if isinstance(part, sql.Composable) else sql.Literal(part) for name, part in parts.items()},
        )

    def _add(self, rows: int, total: str, packed: memoryview | None) -> None:
        with self._writing:
            self._found += Fingerprint(rows, int(total))
            with open(self._path, "ab") as file:
                file.write(packed or b"")


def recorded_hashes(entry: Mapping[str, Any], directory: str) -> tuple[Iterator[tuple[bytes, int]], str]:
    """Return (key, hash) of the rows that an entry was taken of, in the order of the keys' bytes, and their file.

    Reads in constant memory.

    :raises RunbookError: the file is missing or damaged.
    """
    path = os.path.join(directory, entry["hashes"])
    return _sorted_rows(path, _form_of([as_column(column) for column in entry["columns"]], entry["key"])), path


def _form_of(columns: Sequence[Column], key: str) -> KeyForm:
    return next(
        (_BINARY[column.type_id] for column in columns if column.name == key and column.type_id in _BINARY), _TEXT
    )


def _block_ranges(cursor: Cursor, table: str, key: str) -> list[tuple[int, int | None]]:
    """Return the ranges of blocks to read; none without a unique index on the key."""
    blocks = value(cursor, UNIQUE_KEY, {"table": identifier(table).as_string(cursor), "key": key})
    if blocks is None:
        return []
    starts = range(0, max(blocks, 1), BLOCKS_AT_A_TIME)
    return [(start, start + BLOCKS_AT_A_TIME if start + BLOCKS_AT_A_TIME < blocks else None) for start in starts]


def _sorted_rows(path: str, form: KeyForm) -> Iterator[tuple[bytes, int]]:
    try:
        with ExitStack() as stack:
            rows = _rows(stack.enter_context(open(path, "rb")), form)
            runs = []
            while part := sorted(itertools.islice(rows, ROWS_IN_MEMORY)):
                run = stack.enter_context(tempfile.TemporaryFile())
                run.writelines(_LENGTH.pack(len(key)) + key + _HASH.pack(number) for key, number in part)
                run.seek(0)
                runs.append(_rows(run, _TEXT))
            yield from heapq.merge(*runs)
    except struct.error as error:
        raise RunbookError(
            f"the row hashes in {path} cannot be read: the file is cut off.", object_name=path
        ) from error
    except OSError as error:
        raise RunbookError(f"the row hashes in {path} cannot be read: {error}.", object_name=path) from error


def _rows(file: IO[bytes], form: KeyForm) -> Iterator[tuple[bytes, int]]:
    while head := file.read(form.size or _LENGTH.size):
        key = head if form.size else file.read(*_LENGTH.unpack(head))
        (number,) = _HASH.unpack(file.read(_HASH.size))
        yield form.text(key), number
