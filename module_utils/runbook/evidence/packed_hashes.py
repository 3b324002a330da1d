"""Row hashes whose keys have few bytes, packed: the server puts many rows into one value, nobody handles single ones.

A table whose key the catalogue vouches for is read block by block. The rows of a query are read at once, and the server
looks whether their keys are unique. They are brought into order only where a comparison has to name rows that differ.
"""

from __future__ import annotations

import heapq
import itertools
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from psycopg2 import sql

from ..database.connection import Cursor, identifier
from ..errors import RunbookError
from ..private_files import private_file
from .fingerprint import Column, Fingerprint, row_hash

#: Blocks read by one statement: some ten thousand rows, a megabyte or two of packed hashes.
BLOCKS_AT_A_TIME = 1024

#: Rows of a query in one value.
ROWS_AT_A_TIME = 65536

#: Rows sorted in memory at a time, when they are brought into order.
ROWS_IN_MEMORY = 200_000

_HASH_BYTES = 8


class KeyForm(NamedTuple):
    """How keys of a type are packed: the server's function, its bytes, and their text again."""

    send: str
    size: int
    text: Callable[[bytes], str]


def _integer(packed: bytes) -> str:
    return str(int.from_bytes(packed, "big", signed=True))


def _uuid(packed: bytes) -> str:
    return str(uuid.UUID(bytes=packed))


#: By the type's object id in pg_type.
KEY_FORMS = {
    20: KeyForm("int8send", 8, _integer),
    21: KeyForm("int2send", 2, _integer),
    23: KeyForm("int4send", 4, _integer),
    2950: KeyForm("uuid_send", 16, _uuid),
}

#: A whole table (no partitions, no children) with a unique index on the key alone, which is never null.
VOUCHED = """
SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint AS blocks
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname = 'heap'
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = %(key)s AND a.attnotnull
 WHERE c.oid = pg_catalog.to_regclass(%(table)s) AND c.relkind = 'r' AND NOT c.relhassubclass
   AND EXISTS (SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                  AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
"""


def packed_key(columns: Sequence[Column], key: str) -> int | None:
    """Return the type of a key that can be packed, or None."""
    return next((column.type_id for column in columns if column.name == key and column.type_id in KEY_FORMS), None)


def block_ranges(cursor: Cursor, table: str | None, columns: Sequence[Column], key: str) -> list[tuple[int, int]]:
    """Return the ranges of blocks to read, the last one open (-1); none where the table is not read that way."""
    if not table or packed_key(columns, key) is None:
        return []
    name = identifier(table).as_string(cursor)
    cursor.execute(VOUCHED, {"table": name, "key": key})
    row: Any = cursor.fetchone()
    if row is None:
        return []
    starts = range(0, max(row[0], 1), BLOCKS_AT_A_TIME)
    return [(start, start + BLOCKS_AT_A_TIME if start + BLOCKS_AT_A_TIME < row[0] else -1) for start in starts]


def read_blocks(
    cursor: Cursor, table: str, columns: Sequence[Column], key: str, blocks: tuple[int, int]
) -> tuple[Fingerprint, bytes]:
    """Return the fingerprint of the rows in a range of blocks, and their packed keys and hashes."""
    form = KEY_FORMS[packed_key(columns, key) or 0]
    first, after = (sql.Literal(f"({block},0)") for block in blocks)
    within = sql.SQL("r.ctid >= {}::tid").format(first)
    if blocks[1] >= 0:
        within = sql.SQL("{} AND r.ctid < {}::tid").format(within, after)
    # OFFSET 0: the hash is computed once, not once per use.
    cursor.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(hash), 0)::text, string_agg(key || int8send(hash), ''::bytea)"
            " FROM (SELECT {send}({key}) AS key, {hash} AS hash FROM {table} AS r WHERE {within} OFFSET 0) AS rows"
        ).format(
            send=sql.Identifier(form.send),
            key=sql.Identifier("r", key),
            hash=row_hash(columns, "r"),
            table=identifier(table),
            within=within,
        )
    )
    row: Any = cursor.fetchone()
    return Fingerprint(row[0], int(row[1])), bytes(row[2] or b"")


def write_rows(cursor: Cursor, source: sql.Composable, columns: Sequence[Column], key: str, path: str) -> Fingerprint:
    """Write the packed keys and hashes of a query's rows, and return their fingerprint.

    :raises RunbookError: the key is null or not unique.
    """
    form = KEY_FORMS[packed_key(columns, key) or 0]
    statement = sql.SQL(
        "SELECT count(*), sum(hash)::text, string_agg({send}(key) || int8send(hash), ''::bytea),"
        " count(*) FILTER (WHERE key IS NULL), (array_agg(key::text) FILTER (WHERE repeated))[1]"
        " FROM (SELECT key, hash, key = lag(key) OVER by_key AS repeated, row_number() OVER by_key / {rows} AS part"
        " FROM (SELECT {key} AS key, {hash} AS hash FROM {source} AS r OFFSET 0) AS hashed"
        " WINDOW by_key AS (ORDER BY key)) AS numbered GROUP BY part"
    ).format(
        send=sql.Identifier(form.send),
        key=sql.Identifier("r", key),
        hash=row_hash(columns, "r"),
        source=source,
        rows=sql.Literal(ROWS_AT_A_TIME),
    )
    found = Fingerprint(0, 0)
    # By a cursor on the server: the runner holds one value at a time.
    cursor.execute(sql.SQL("DECLARE packed_rows NO SCROLL CURSOR FOR {}").format(statement))
    with private_file(path) as file:
        while True:
            cursor.execute("FETCH packed_rows")
            row: Any = cursor.fetchone()
            if row is None:
                break
            rows, total, packed, nulls, repeated = row
            if nulls or repeated is not None:
                what = "null" if nulls else f"not unique: {repeated} appears twice"
                raise RunbookError(f"the key {key} is {what}; a fingerprint needs one row per key.")
            found += Fingerprint(rows, int(total))
            file.write(bytes(packed))
    cursor.execute("CLOSE packed_rows")
    return found


def read_packed(path: str, key_type: int) -> Iterator[tuple[bytes, int]]:
    """Read (key, hash) of every row, in the order of the keys' bytes, in constant memory.

    :raises RunbookError: the file is missing or damaged.
    """
    form = KEY_FORMS[key_type]
    size = form.size + _HASH_BYTES
    try:
        if os.path.getsize(path) % size:
            raise RunbookError(f"the row hashes in {path} cannot be read: cut off.", object_name=path)
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            rows = (_line(row, form) for row in iter(lambda: file.read(size), b""))
            runs = []
            while lines := sorted(itertools.islice(rows, ROWS_IN_MEMORY)):
                run = stack.enter_context(tempfile.TemporaryFile())
                run.writelines(lines)
                run.seek(0)
                runs.append(run)
            for line in heapq.merge(*runs):
                key, _, value = line.rpartition(b"\t")
                yield key, int(value)
    except OSError as error:
        raise RunbookError(f"the row hashes in {path} cannot be read: {error}.", object_name=path) from error


def _line(row: bytes, form: KeyForm) -> bytes:
    """A line that sorts as its key does: the tab is less than any character of a key."""
    return f"{form.text(row[: form.size])}\t{int.from_bytes(row[form.size :], 'big', signed=True)}\n".encode()
