"""Report the blockers of a waiting session as lines of progress. Loads no SQL parser."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg2

from ..database.connection import Connection, Cursor, rows_as_dicts
from ..errors import server_message
from ..progress_feed import Writer
from . import blockers
from .blockers import BlockerWatch

#: Longest time between two lines of the same wait.
REPORT_SECONDS = 1.0

INDEX_PROGRESS = """
SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total
  FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s
"""


class WaitReport(BlockerWatch):
    """Reports the blockers of a session and the progress of its index as lines of progress.

    :param place: what is at work, in keys of a line of progress.
    :param kind: of the lines of progress.
    """

    def __init__(
        self,
        observer: Connection,
        session: Connection,
        wait_seconds: float,
        writer: Writer,
        place: Mapping[str, str],
        kind: str = "lock",
    ) -> None:
        super().__init__(observer, session, min(wait_seconds, REPORT_SECONDS * 5))
        self._writer = writer
        self._place = place
        self._kind = kind
        self._reported = ""
        self._due = 0.0

    def clear(self) -> None:
        """Clear the wait line, also that of an earlier watch: the work after the wait may take long."""
        self._writer.write({**self._place, "kind": self._kind, "state": "done"})

    def look(self, cursor: Cursor) -> None:
        """Poll once: blockers, and for CONCURRENTLY the progress of an index."""
        super().look(cursor)
        row = self._index(cursor) if self._kind == "concurrently" else {}
        waits = self.present and blockers.to_text(self.present)
        if not waits and not row:
            return
        reason = "; ".join(part for part in (row.get("phase") or "", waits or "") if part)
        blocks = row.get("blocks_total") or 0
        done, total = (row["blocks_done"], blocks) if blocks else (None, None)
        reported, now = f"{reason} {done}", time.monotonic()
        if reported != self._reported or now >= self._due:
            self._reported, self._due = reported, now + REPORT_SECONDS
            self._writer.write(
                {
                    **self._place,
                    "kind": self._kind,
                    "state": "waiting" if waits else "running",
                    "rows_done": done,
                    "rows_total": total,
                    "reason": reason,
                }
            )

    def _index(self, cursor: Cursor) -> dict[str, Any]:
        try:
            cursor.execute(INDEX_PROGRESS, (self.pid,))
            rows = rows_as_dicts(cursor)
        except psycopg2.Error as error:
            self.problem = server_message(error)
            return {}
        return rows[0] if rows else {}
