"""Read the COPY blocks in the text that pg_dump and pg_restore write, in constant memory."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import RunbookError

#: Bytes of whole lines read at a time.
CHUNK_BYTES = 1 << 18

#: Bytes of rows skipped at a time.
SKIP_BYTES = 1 << 18

_MARK = b"\\."
_END = _MARK + b"\n"
_ANNOUNCED = re.compile(rb"-- Data for Name: .*; Type: TABLE DATA; Schema: ")
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\s",.()]+)'
_HEADER = re.compile(rf"COPY ({_IDENTIFIER})\.({_IDENTIFIER}) +(?:\((.*)\) )?FROM stdin;\n")


class CutShortError(RunbookError):
    """The text ends inside a COPY block."""


@dataclasses.dataclass(frozen=True)
class CopyHeader:
    """The table and the columns of a COPY block, in the order of the values, without generated columns."""

    table: str
    columns: tuple[str, ...]


class CopyBlock:
    """The rows of a table in COPY's text format: a file for ``copy_expert`` that counts the rows read."""

    def __init__(self, lines: _Lines, header: CopyHeader) -> None:
        self._lines = lines
        self._ended = False
        self.header = header
        self.rows = 0

    def read(self, _size: int = -1) -> bytes:
        """Return the next rows, about CHUNK_BYTES of whole lines; empty at the end."""
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
        """Read to the end and return the total number of rows, much faster than with ``read``."""
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
    """Yield the COPY blocks in the text of a dump, and skip rows that the caller did not read.

    A block starts with the comment that pg_dump writes before a table's data, so a function body with a line like
    ``COPY public.orders FROM stdin;`` is not mistaken for one.

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
    """Parse the first line of a COPY block.

    :raises RunbookError: it is not one (with rows dumped as INSERT statements, for example).
    """
    text = line.decode()
    match = _HEADER.fullmatch(text)
    if match is None:
        raise RunbookError(f"this line does not start the rows of a table: {text.strip()[:200]}.")
    schema, table, columns = match.groups()
    return CopyHeader(
        table=f"{unquote(schema)}.{unquote(table)}",
        columns=tuple(unquote(found) for found in re.findall(_IDENTIFIER, columns or "")),
    )


def unquote(name: str) -> str:
    """Return the name that an SQL identifier denotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


class _Lines:
    """Reads lines of a stream in chunks; the reader can return lines that it does not need yet."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead: list[bytes] = []

    def take(self) -> list[bytes]:
        taken, self._ahead = self._ahead, []
        return taken or self._stream.readlines(CHUNK_BYTES)

    def give_back(self, lines: list[bytes]) -> None:
        self._ahead = lines

    def skip_rows(self) -> tuple[int, bool]:
        """Read past the end mark; return the number of lines before it, and whether there was a mark.

        COPY escapes line breaks inside a row, and no row equals the mark. ``split`` finds line breaks and mark in one
        pass, which is faster than counting and searching.
        """
        rows, text = 0, b"".join(self._ahead)
        self._ahead = []
        while True:
            lines = text.split(b"\n")
            open_line = lines.pop()  # an incomplete line
            if _MARK in lines:
                break
            rows += len(lines)
            more = self._stream.read(SKIP_BYTES)
            if not more:
                return rows, False
            # Keep just enough of an incomplete line to tell whether it is the mark: long rows need no more memory.
            text = open_line[: len(_MARK) + 1] + more
        at = lines.index(_MARK)
        rest = b"\n".join([*lines[at + 1 :], open_line])
        self._ahead = io.BytesIO(rest + (b"" if rest.endswith(b"\n") else self._stream.readline())).readlines()
        return rows + at, True
