"""Read archives that pg_dump wrote in the directory format: table of contents, rows, files."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import RunbookError
from .copy_stream import CHUNK_BYTES, CopyBlock, CutShortError, copy_blocks
from .tools import Tool, start_tool

#: Name of the archive inside a backup directory.
ARCHIVE_NAME = "data"

_ENTRY = re.compile(r"(?P<id>\d+); \d+ (?P<oid>\d+) TABLE DATA .*")


@dataclasses.dataclass(frozen=True)
class Archive:
    """A dump on disk.

    :param pg_restore: the tool of the version that wrote it.
    """

    path: str
    pg_restore: Path


def table_entries(archive: Archive) -> dict[int, int]:
    """Return the TABLE DATA entries of the table of contents: oid of the table → id of the entry.

    :raises RunbookError: the archive cannot be read.
    """
    return {int(found["oid"]): int(found["id"]) for line in contents(archive) if (found := _ENTRY.fullmatch(line))}


def contents(archive: Archive) -> list[str]:
    """Return the lines of the table of contents, as ``pg_restore --list`` writes them.

    :raises RunbookError: the archive cannot be read.
    """
    with start_tool([str(archive.pg_restore), "--list", archive.path], read=True) as tool:
        text = tool.output.read().decode("utf-8", "replace")
        tool.finish(f"reading the table of contents of {archive.path}")
    return text.splitlines()


@contextmanager
def table_rows(archive: Archive, table: str, entry: int) -> Iterator[CopyBlock]:
    """Open the rows of a table, which the block must read to the end.

    :param entry: id of the table's entry in the archive.
    :raises RunbookError: the archive does not contain the rows, is damaged, or ends too early.
    """
    with _text(archive, entry) as stream:
        for block in copy_blocks(stream):
            if block.header.table == table:
                yield block
                return
    raise RunbookError(f"the archive {archive.path} has no TABLE DATA entry for {table}.", object_name=table)


def count_rows(archive: Archive, entries: Mapping[str, int], workers: int) -> dict[str, int]:
    """Read the archive and count its rows by table.

    :param entries: table → id of its entry in the archive.
    """

    def count(table: str) -> int:
        with table_rows(archive, table, entries[table]) as block:
            return block.skip()

    with ThreadPoolExecutor(max_workers=workers) as pool:
        return dict(zip(entries, pool.map(count, entries), strict=True))


def size_on_disk(path: str) -> int:
    """Return the total size of an archive's files in bytes."""
    return sum(os.path.getsize(file) for file in files_of(path))


def files_of(path: str) -> Sequence[str]:
    """Return the files of an archive in the order of their names."""
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)


@contextmanager
def _text(archive: Archive, entry: int) -> Iterator[BinaryIO]:
    """Open an entry of the archive as SQL text."""
    argv = [str(archive.pg_restore), "--data-only", "--use-list=/dev/stdin", "--file=-", archive.path]
    with start_tool(argv, read=True, send=f"{entry};\n".encode()) as tool:
        doing = f"reading entry {entry} of {archive.path}"
        try:
            yield cast(BinaryIO, tool.output)
        except CutShortError:
            _finish(tool, doing)  # raises with the tool's message if it failed
            raise
        _finish(tool, doing)


def _finish(tool: Tool, doing: str) -> None:
    while tool.output.read(CHUNK_BYTES):
        pass
    tool.finish(doing)
