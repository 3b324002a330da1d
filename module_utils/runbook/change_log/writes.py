"""What the application wrote to the rows of one fingerprint, or to what a count counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from psycopg2 import sql

from ..session.connection import Cursor
from ..snapshot.fingerprint import Fingerprint
from .leave_out import WrittenRow

NO_ROWS = Fingerprint(0, 0)

#: Rows fetched at a time.
_FETCH = 10_000


@dataclasses.dataclass(frozen=True)
class Writes:
    """What the application wrote to the rows of one fingerprint.

    :param old: fingerprint of the written rows before; ``new``: as they are now.
    :param rows: query for their keys and old hashes, in order; None where nothing was written.
    :param unknown: why the log cannot tell; empty where it can.
    """

    old: Fingerprint = NO_ROWS
    new: Fingerprint = NO_ROWS
    rows: sql.Composable | None = None
    unknown: str = ""

    def stream(self, cursor: Cursor, name: str) -> Iterator[WrittenRow]:
        """Fetch the written rows through a server-side cursor of this name."""
        if self.rows is None:
            return
        cursor_name = sql.Identifier(name)
        cursor.execute(sql.SQL("DECLARE {} NO SCROLL CURSOR FOR {}").format(cursor_name, self.rows))
        while True:
            cursor.execute(sql.SQL("FETCH FORWARD {} FROM {}").format(sql.Literal(_FETCH), cursor_name))
            rows = cursor.fetchall()
            if not rows:
                break
            yield from ((key.encode(errors="surrogateescape"), hashes) for key, hashes in rows)
        cursor.execute(sql.SQL("CLOSE {}").format(cursor_name))


@dataclasses.dataclass(frozen=True)
class CountWrites:
    """By how much the application's writes moved a count, or why that is unknown."""

    moved: Any = 0
    unjudged: str = ""
    unknown: str = ""
