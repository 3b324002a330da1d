"""The row hashes of one fingerprint: what is read for them, by whichever session is free, and the file they go into."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2

from ..database.connection import Cursor
from ..database.queries import read_query
from ..errors import RunbookError, driver_errors
from ..private_files import private_file
from .fingerprint import Fingerprint, columns_of, read_hashes, source_of, write_hashes
from .packed_hashes import block_ranges, packed_key, read_blocks, read_packed, write_rows

#: A range of blocks, or None for all rows at once.
Part = tuple[int, int] | None


class RowHashes:
    """One fingerprint while it is taken.

    :ivar parts: what is to be read, in any order.
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
            ranges = block_ranges(cursor, self._table, self._columns, self._key)
        self.parts: list[Part] = list(ranges) or [None]
        self._packed = packed_key(self._columns, self._key)
        self._file = f"{self._name}.hashes" if self._packed else f"{self._name}.hashes.gz"
        self._path = os.path.join(directory, self._file)
        self._writing = threading.Lock()
        self._found = Fingerprint(0, 0)
        if ranges:
            with private_file(self._path):
                pass

    def read(self, cursor: Cursor, part: Part) -> None:
        """Read one part and write its hashes.

        :raises RunbookError: the query failed, or the key is null or not unique.
        """
        with driver_errors(f"the fingerprint {self._name}", object_name=self._table or self._name):
            try:
                if part is None:
                    write = write_rows if self._packed else write_hashes
                    self._found = write(cursor, self._source, self._columns, self._key, self._path)
                    return
                assert self._table is not None
                found, packed = read_blocks(cursor, self._table, self._columns, self._key, part)
            except psycopg2.errors.UndefinedFunction as error:
                text = f"the fingerprint {self._name}: {error.diag.message_primary}."
                raise RunbookError(text, object_name=self._name) from error
        with self._writing:
            self._found += found
            with open(self._path, "ab") as file:
                file.write(packed)

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
            # Text: the sum of 64-bit hashes does not fit the numbers that other readers of JSON have.
            "total": str(self._found.total),
            "hashes": self._file,
            "packed_key_type": self._packed,
        }


def recorded_hashes(entry: Mapping[str, Any], directory: str) -> tuple[Iterator[tuple[bytes, int]], str]:
    """Return (key, hash) of the rows that an entry was taken of, in the order of the keys' bytes, and their file."""
    path = os.path.join(directory, entry["hashes"])
    key_type = entry.get("packed_key_type")
    return (read_packed(path, key_type) if key_type else read_hashes(path)), path
