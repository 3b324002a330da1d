"""Rows in the text that pg_dump and pg_restore write: COPY blocks, read in constant memory."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import RunbookError

#: Bytes of whole lines handled at a time.
CHUNK_BYTES = 1 << 18

#: Bytes of rows skipped at a time.
SKIP_BYTES = 1 << 18

_MARK = b"\\."
_END = _MARK + b"\n"
_ANNOUNCED = re.compile(rb"-- Data for Name: .*; Type: TABLE DATA; Schema: ")
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\s",.()]+)'
_HEADER = re.compile(rf"COPY ({_IDENTIFIER})\.({_IDENTIFIER}) +(?:\((.*)\) )?FROM stdin;\n")


class CutShortError(RunbookError):
    """The text ends where rows should follow."""


@dataclasses.dataclass(frozen=True)
class CopyHeader:
    """Whose rows follow: the table and its columns, in the order of the rows (generated columns are left out)."""

    table: str
    columns: tuple[str, ...]


class CopyBlock:
    """The rows of one table, as COPY's text format. A file for ``copy_expert``; counts what passes through."""

    def __init__(self, lines: _Lines, header: CopyHeader) -> None:
        self._lines = lines
        self._ended = False
        self.header = header
        self.rows = 0

    def read(self, _size: int = -1) -> bytes:
        """Return the next rows, whole lines of about CHUNK_BYTES; nothing at the end."""
        if self._ended:
            return b""
        lines = self._lines.take()
        if not lines:
            raise self._cut_short()
        if _END in lines:
            at = lines.index(_END)
            self._lines.give_back(lines[at + 1 :])
            del lines[at:]
            self._ended = True
        self.rows += len(lines)
        return b"".join(lines)

    def skip(self) -> int:
        """Read to the end and return how many rows there were in all. Much faster than ``read``: rows are not split."""
        if not self._ended:
            skipped, self._ended = self._lines.skip_rows()
            self.rows += skipped
            if not self._ended:
                raise self._cut_short()
        return self.rows

    def _cut_short(self) -> CutShortError:
        return CutShortError(
            f"the archive ends in the middle of {self.header.table}, after row {self.rows}.",
            object_name=self.header.table,
        )


def copy_blocks(stream: BinaryIO) -> Iterator[CopyBlock]:
    """Find the COPY blocks in a dump's text. A block that was not read to its end is skipped.

    A block begins with the comment that pg_dump puts before each table's data: a function's body that holds a
    line like ``COPY public.orders FROM stdin;`` is none.

    :raises CutShortError: the text ends inside a block.
    """
    lines = _Lines(stream)
    announced = False
    while chunk := lines.take():
        for at, line in enumerate(chunk):
            if _ANNOUNCED.match(line):
                announced = True
            elif announced and line.startswith(b"COPY "):
                lines.give_back(chunk[at + 1 :])
                block = CopyBlock(lines, parse_header(line))
                yield block
                block.skip()
                announced = False
                break
            elif announced and line.strip() not in (b"", b"--"):
                announced = False


def parse_header(line: bytes) -> CopyHeader:
    """Read the line that begins a COPY block.

    :raises RunbookError: it is none (rows dumped as INSERT statements, for example).
    """
    text = line.decode()
    match = _HEADER.fullmatch(text)
    if match is None:
        raise RunbookError(f"not the beginning of a table's rows: {text.strip()[:200]}.")
    schema, table, columns = match.groups()
    return CopyHeader(
        table=f"{unquote(schema)}.{unquote(table)}",
        columns=tuple(unquote(found) for found in re.findall(_IDENTIFIER, columns or "")),
    )


def unquote(name: str) -> str:
    """Return an identifier as it is, from how it is written in SQL."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


class _Lines:
    """Lines of a stream in chunks, with room to give some back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead: list[bytes] = []

    def take(self) -> list[bytes]:
        taken, self._ahead = self._ahead, []
        return taken or self._stream.readlines(CHUNK_BYTES)

    def give_back(self, lines: list[bytes]) -> None:
        self._ahead = lines

    def skip_rows(self) -> tuple[int, bool]:
        """Count the lines before the end mark and pass it. Returns their number, and whether there was a mark.

        A row holds no other line break than the one that ends it (COPY escapes them), and none is just the mark.
        Splitting finds breaks and mark in one pass: less work than counting the ones and searching the other.
        """
        rows, text = 0, b"".join(self._ahead)
        self._ahead = []
        while True:
            lines = text.split(b"\n")
            open_line = lines.pop()  # its end was not read yet
            if _MARK in lines:
                break
            rows += len(lines)
            more = self._stream.read(SKIP_BYTES)
            if not more:
                return rows, False
            # Of a line that goes on, what tells it from the mark: memory stays constant, however long a row is.
            text = open_line[: len(_MARK) + 1] + more
        at = lines.index(_MARK)
        rest = b"\n".join([*lines[at + 1 :], open_line])
        self._ahead = io.BytesIO(rest + (b"" if rest.endswith(b"\n") else self._stream.readline())).readlines()
        return rows + at, True
