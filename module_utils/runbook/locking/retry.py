"""Transactions that need locks: bounded waits, bounded retries, and pauses that let the queue behind us drain."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import psycopg2

from ..database.connection import Connection, Cursor, Stopwatch, transaction
from ..database.lock_modes import Lock
from ..errors import RunbookError
from ..progress_feed import Writer
from . import blockers
from .limits import Locking
from .wait_report import WaitReport

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One attempt at a locked transaction.

    :param number: counts from 1.
    :param watch: reports blockers during the attempt; stop it when the rest of the transaction needs no locks.
    :param stopwatch: measures since the transaction began.
    """

    number: int
    watch: WaitReport
    stopwatch: Stopwatch


def in_locked_transaction(
    connection: Connection,
    observer: Connection,
    locking: Locking,
    work: Callable[[Cursor, Attempt], T],
    failure: Callable[[psycopg2.Error, str], RunbookError],
    *,
    writer: Writer,
    place: Mapping[str, str],
    locks: Sequence[Lock] = (),
    begin: Callable[[Cursor], object] | None = None,
) -> T:
    """Run work in one transaction that has locked its tables; roll back and retry while a lock is refused.

    The first lock may wait for lock_timeout_seconds, each later one and each statement of the work for a tenth of it,
    because the locks already held keep the application waiting.

    :param observer: looks for blockers while the first session waits.
    :param failure: makes the error to raise from the server's error and, after the last attempt, the number of
        attempts and the blockers in words (else an empty string).
    :param place: identifies the work in each line of progress (see WaitReport).
    :param begin: is called before the first lock: checks the lease, sets timeouts.
    :raises RunbookError: what ``failure`` made; nothing was committed.
    """
    waits, stopwatch = _Waits(locking.lock_timeout_seconds), Stopwatch()
    shortest = locking.lock_timeout_seconds * (blockers.LATER_LOCKS_SHARE if locks else 1.0)
    number = 0
    while True:
        number += 1
        with WaitReport(observer, connection, shortest, writer, place) as watch:
            try:
                with transaction(connection) as cursor:
                    attempt = Attempt(number, watch, Stopwatch())
                    if begin:
                        begin(cursor)
                    for position, lock in enumerate(locks):
                        blockers.lock_table(cursor, lock, waits.next(position))
                    blockers.set_local(cursor, "lock_timeout", waits.next(len(locks)))
                    return work(cursor, attempt)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected) as error:
                refused: psycopg2.Error = error
            except psycopg2.Error as error:
                raise failure(error, "") from error
        spent = stopwatch.seconds() + locking.lock_pause_seconds
        if number >= locking.lock_attempts or spent > locking.lock_attempts_limit_seconds:
            why = (
                f"Gave up after {number} attempts in {stopwatch.seconds():.1f} s. "
                f"{blockers.to_text(watch.blockers, watch.problem)}{blockers.how_to_end(watch.blockers)}"
            )
            raise failure(refused, why) from refused
        if blockers.is_autovacuum(watch.blockers):
            waits.outwait_autovacuum(observer)
        time.sleep(locking.lock_pause_seconds)


class _Waits:
    """The lock_timeout at each position of a transaction: its n-th lock, and its statements after the last lock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._longer: dict[int, float] = {}
        self._position = 0

    def next(self, position: int) -> float:
        self._position = position
        share = blockers.LATER_LOCKS_SHARE if position else 1.0
        return self._longer.get(position, self._seconds * share)

    def outwait_autovacuum(self, observer: Connection) -> None:
        """Let the refused position wait longer than deadlock_timeout: only then does autovacuum cancel itself."""
        with observer.cursor() as cursor:
            wait = blockers.deadlock_timeout_seconds(cursor) + blockers.AUTOVACUUM_MARGIN_SECONDS
        self._longer[self._position] = max(wait, self._seconds)
