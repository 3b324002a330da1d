"""Pauses of a run in the journal: since when, why, until when."""

from __future__ import annotations

import time

from ..session.connection import Connection

#: Phase of the event that says that workers begin, or end, to give way.
PACE = "pace"


class Pauses:
    """Writes pauses as they begin and end; each signal has one at a time. For one thread."""

    def __init__(self, connection: Connection, run_id: str, version: str) -> None:
        self._connection = connection
        self._place = (run_id, version)
        self._open: dict[str, tuple[int, float]] = {}
        with connection.cursor() as cursor:
            # What a killed call has left open.
            cursor.execute(
                "UPDATE migration_runbook.pause SET ended_at = clock_timestamp()"
                " WHERE run_id = %s AND ended_at IS NULL",
                (run_id,),
            )

    def begin(self, signal: str, reason: str) -> bool:
        """Note that a signal holds the run. Returns whether that is new."""
        if signal in self._open:
            return False
        with self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO migration_runbook.pause (run_id, version, signal, reason) VALUES (%s, %s, %s, %s)"
                " RETURNING id",
                (*self._place, signal, reason),
            )
            row = cursor.fetchone()
        self._open[signal] = (int(row[0]) if row else 0, time.monotonic())
        return True

    def seconds(self, signal: str) -> float:
        """How long a signal holds the run by now."""
        found = self._open.get(signal)
        return time.monotonic() - found[1] if found else 0.0

    def end(self, signal: str) -> None:
        """Note that a signal holds the run no longer."""
        found = self._open.pop(signal, None)
        if found:
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE migration_runbook.pause SET ended_at = clock_timestamp() WHERE id = %s", (found[0],)
                )

    def end_all(self) -> None:
        """Close what is open: the call ends."""
        for signal in list(self._open):
            self.end(signal)
