"""Read one snapshot in parallel sessions: one exports it, the others import it."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from psycopg2 import sql

from .connection import Cursor, SessionSettings, read_only_snapshot, session
from .queries import savepoint

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Default number of parallel sessions: a verification keeps two cores busy and leaves the
#: application its own.
SESSIONS = 2

#: Memory of one sort or hash table, in megabytes, where nothing else is said. The server's default (4 MB) writes the
#: hash table of a join of a million rows to disk.
WORK_MEMORY_MEGABYTES = 64


def reading_arguments() -> dict[str, Any]:
    """Return the entries of an argument_spec that say how whole tables are read."""
    return {
        "sessions": {"type": "int", "default": SESSIONS},
        "work_memory_megabytes": {"type": "int", "default": WORK_MEMORY_MEGABYTES},
    }


class Readers:
    """Cursors in transactions of one snapshot; any free one takes the next piece of work."""

    def __init__(self, cursors: Sequence[Cursor]) -> None:
        self._cursors = cursors

    @property
    def first(self) -> Cursor:
        """The cursor for what is read one after the other."""
        return self._cursors[0]

    def map(self, work: Callable[[Cursor, Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """Return ``work(cursor, item)`` of every item, in the items' order.

        Each runs in its own savepoint: a statement that the server refuses leaves the transaction usable. The
        first exception is raised when the running ones have ended.
        """
        free: queue.SimpleQueue[Cursor] = queue.SimpleQueue()
        for cursor in self._cursors:
            free.put(cursor)

        def with_a_free_one(item: Item) -> Answer:
            cursor = free.get()
            try:
                with savepoint(cursor):
                    return work(cursor, item)
            finally:
                free.put(cursor)

        with ThreadPoolExecutor(max_workers=len(self._cursors)) as pool:
            try:
                return list(pool.map(with_a_free_one, items))
            except (KeyboardInterrupt, SystemExit):
                for cursor in self._cursors:
                    if not cursor.connection.closed:
                        cursor.connection.cancel()
                raise


def for_reading(wanted: SessionSettings, work_memory_megabytes: int = WORK_MEMORY_MEGABYTES) -> SessionSettings:
    """Return a session's settings for reading whole tables.

    A session is idle in its transaction while another still reads, so no timeout may end it. Compiling a query that
    runs once costs more than it saves. The sessions provide the parallelism: with parallel workers they slowed each
    other and the application down (the checks of a million rows on two cores: 5.6 s, without 3.8 s).
    """
    more = {"jit": "off", "max_parallel_workers_per_gather": "0", "work_mem": f"{work_memory_megabytes * 1024}kB"}
    settings = {**wanted.settings, **more}
    return dataclasses.replace(wanted, read_only=True, idle_in_transaction_timeout_seconds=0, settings=settings)


@contextmanager
def readers(options: Mapping[str, Any], wanted: SessionSettings, sessions: int = SESSIONS) -> Iterator[Readers]:
    """Open sessions that all read one instant.

    :param wanted: as ``for_reading`` returns it.
    """
    with (
        session(options, wanted) as connection,
        read_only_snapshot(connection) as cursor,
        parallel_readers(cursor, options, wanted, sessions - 1) as side_by_side,
    ):
        yield side_by_side


@contextmanager
def parallel_readers(
    cursor: Cursor, options: Mapping[str, Any], wanted: SessionSettings, more: int
) -> Iterator[Readers]:
    """Read the instant of the cursor's transaction with it and with ``more`` sessions."""
    cursors = [cursor]
    with ExitStack() as stack:
        if more > 0:
            cursor.execute("SELECT pg_catalog.pg_export_snapshot()")
            row: Any = cursor.fetchone()
            take_over = sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(row[0]))
        for _ in range(more):
            connection = stack.enter_context(session(options, wanted))
            other = stack.enter_context(read_only_snapshot(connection))
            other.execute(take_over)
            cursors.append(other)
        yield Readers(cursors)
