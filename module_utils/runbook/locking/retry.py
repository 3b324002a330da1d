"""Trying again while a lock is refused: bounded in attempts and time, with pauses that let the queue drain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import psycopg2

from ..database.connection import Connection, Stopwatch
from ..progress_feed import Writer
from . import blockers
from .limits import Locking
from .wait_report import WaitReport

T = TypeVar("T")

#: Where a transaction stood when a lock was refused: at its n-th table, or at its statements.
STATEMENTS = -1


class LocksRefusedError(Exception):
    """Every attempt was refused.

    :param error: what the server said the last time.
    :param why: how often and how long it was tried, and who was in the way, in words.
    """

    def __init__(self, error: psycopg2.Error, why: str) -> None:
        super().__init__(why)
        self.error = error
        self.why = why


class Waits:
    """How long each lock of a transaction may be waited for. ``at`` tells which one was asked for last."""

    def __init__(self, locking: Locking) -> None:
        self._seconds = locking.lock_timeout_seconds
        self._longer_waits: dict[int, float] = {}
        self.at = STATEMENTS

    def timeout(self, at: int, *, first: bool) -> float:
        """Return the lock_timeout for the lock that is asked for next: what is held already makes others wait."""
        self.at = at
        share = 1.0 if first else blockers.LATER_LOCKS_SHARE
        return self._longer_waits.get(at, self._seconds * share)

    def outwait_autovacuum(self, observer: Connection) -> None:
        """Next time wait just longer than deadlock_timeout for this lock: only then does autovacuum give way."""
        with observer.cursor() as cursor:
            wait = blockers.deadlock_timeout_seconds(cursor) + blockers.AUTOVACUUM_MARGIN_SECONDS
        self._longer_waits[self.at] = wait


def until_locked(
    connection: Connection,
    observer: Connection,
    locking: Locking,
    attempt: Callable[[int, Waits], T],
    writer: Writer,
    place: Mapping[str, str],
    *,
    shortest_wait_seconds: float = 0.0,
) -> T:
    """Call ``attempt`` (its number, and how long it may wait) until no lock is refused; each is one transaction.

    :param observer: looks, while the first session waits, at who is in the way.
    :param writer: tells the screen, with ``place`` in each line (see WaitReport): attempts may take minutes.
    :param shortest_wait_seconds: of any lock in the transaction, where that is less than lock_timeout.
    :raises LocksRefusedError: attempts or time are used up.
    """
    waits, stopwatch = Waits(locking), Stopwatch()
    shortest = shortest_wait_seconds or locking.lock_timeout_seconds
    number = 0
    while True:
        number += 1
        with WaitReport(observer, connection, shortest, writer, place) as seen:
            try:
                return attempt(number, waits)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected) as error:
                refused: psycopg2.Error = error
        spent = stopwatch.seconds() + locking.lock_pause_seconds
        if number >= locking.lock_attempts or spent > locking.lock_attempts_limit_seconds:
            who = blockers.to_text(seen.blockers, seen.problem) + blockers.how_to_end(seen.blockers)
            raise LocksRefusedError(
                refused, f"Given up after {number} attempts in {stopwatch.seconds():.1f} s. {who}"
            ) from refused
        if blockers.is_autovacuum(seen.blockers):
            waits.outwait_autovacuum(observer)
        time.sleep(locking.lock_pause_seconds)
