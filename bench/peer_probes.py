"""Observe a tool from other sessions: whether it commits while it runs, and whether others can read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psycopg2
from support.servers import Options, connect

from .contenders import Contender, Outcome, online
from .peers import run_peer

#: How long another session holds a lock on posts after a migration starts to wait for it.
HELD_SECONDS = 3.0
LOOK_SECONDS = 0.05

MOVED = "SELECT count(*) FROM public.posts WHERE track_id IS NOT NULL"
HOLD = "BEGIN; LOCK TABLE public.posts IN ACCESS SHARE MODE"
WAITING = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode <> 'AccessShareLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
READ = "SELECT count(*) FROM (SELECT FROM public.posts LIMIT 1) AS one"


def probes(peer: str) -> Contender:
    """Return a contender that runs a peer (empty: our four migrations online) under observation."""
    contender = run_peer(peer) if peer else online

    def observed(options: Options, limit_seconds: float) -> Outcome:
        seen: list[int] = []
        waits: list[float] = [0.0]
        with (
            _watching(options, lambda cursor: _count(cursor, seen)),
            _watching(options, lambda cursor: _read(cursor, waits)),
            _holding(options),
        ):
            outcome = contender(options, limit_seconds)
        outcome.details |= {
            "counts_seen": len(set(seen) - {0}),
            "held_seconds": HELD_SECONDS,
            "longest_read_seconds": round(max(waits), 3),
        }
        outcome.details.pop("steps", None)
        return outcome

    return observed


def _count(cursor: psycopg2.extensions.cursor, seen: list[int]) -> None:
    try:
        cursor.execute(MOVED)
    except psycopg2.errors.UndefinedColumn:
        return
    row = cursor.fetchone()
    seen.append(row[0] if row else 0)


def _read(cursor: psycopg2.extensions.cursor, waits: list[float]) -> None:
    started = time.monotonic()
    cursor.execute(READ)
    waits.append(time.monotonic() - started)


@contextlib.contextmanager
def _watching(options: Options, look: Callable[[psycopg2.extensions.cursor], None]) -> Iterator[None]:
    stop = threading.Event()

    def watch() -> None:
        with connect(options, options="-c statement_timeout=0") as connection, connection.cursor() as cursor:
            while not stop.wait(LOOK_SECONDS):
                look(cursor)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _holding(options: Options) -> Iterator[None]:
    """Read posts in a transaction that ends some seconds after another session starts to wait for it."""
    stop = threading.Event()

    def hold() -> None:
        with connect(options) as holder, connect(options) as observer, observer.cursor() as looking:
            holder.cursor().execute(HOLD)
            ready.set()
            while not stop.wait(LOOK_SECONDS):
                looking.execute(WAITING)
                if looking.fetchone() == (True,):
                    stop.wait(HELD_SECONDS)
                    return

    ready = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()
