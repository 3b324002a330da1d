"""Report the progress of loading a backup."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2

from ..database.connection import SessionSettings, open_session
from ..errors import RunbookError
from ..progress_feed import Writer
from .estimate import Estimate

LOOK_SECONDS = 0.5
REST = "rows are loaded; indexes, keys and statistics follow"

# A loaded table is counted by its statistics, which lag a little; one that is being loaded by its COPY.
ROWS = """
SELECT n.nspname || '.' || c.relname AS name,
       greatest(pg_catalog.pg_stat_get_tuples_inserted(c.oid), coalesce(p.tuples_processed, 0))::bigint AS rows
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_stat_progress_copy p
    ON p.relid = c.oid AND p.datname = pg_catalog.current_database() AND p.command = 'COPY FROM'
 WHERE c.relkind = 'r' AND n.nspname || '.' || c.relname = ANY (%s)
"""

#: Rows loaded so far.
Rows = Callable[[], int]


@contextmanager
def shown(path: str | None, step: str, rows_total: int, rows_done: Rows) -> Iterator[None]:
    """Append the progress of the load in the block to the progress file every half second.

    :param path: see ``progress_file_argument``; without one nothing is reported or queried.
    :param step: what is loaded, and its target.
    """
    writer = Writer(path)
    if not path or writer.problem:
        yield
        return
    estimate, ended = Estimate(), threading.Event()

    def write_progress(state: str = "running") -> None:
        done = min(rows_done(), rows_total)
        estimate.add(time.monotonic(), done)
        entry: dict[str, Any] = {"step": step, "kind": "load", "state": state, "rows_total": rows_total}
        entry |= {"rows_done": done, "rows_per_second": estimate.rate, "reason": REST if done == rows_total else ""}
        left = estimate.eta(rows_total - done)
        if left and done < rows_total:
            entry |= dict(zip(("eta_seconds", "eta_low_seconds", "eta_high_seconds"), left, strict=True))
        writer.write(entry)

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            # A failure to report progress never fails a restore.
            with contextlib.suppress(psycopg2.Error):
                write_progress()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    state = "failed"
    try:
        yield
        state = "done"
    finally:
        ended.set()
        thread.join()
        writer.write({"step": step, "kind": "load", "state": state, "rows_total": rows_total})
        writer.close()


@contextmanager
def rows_of_tables(
    path: str | None, options: Mapping[str, Any], settings: SessionSettings, wanted: Mapping[str, int]
) -> Iterator[Rows]:
    """Yield a function that counts the loaded rows of these tables in its own session.

    :param wanted: rows by table, as ``schema.table``, that each will have: none counts for more.
    """
    if not path:
        yield lambda: 0
        return
    seen = dict.fromkeys(wanted, 0)
    observing = dataclasses.replace(
        settings, application_name=f"{settings.application_name} observer", read_only=True, settings={}
    )
    try:
        connection = open_session(options, observing)
    except RunbookError:  # for example, no connection is free; the restore does not need this one
        yield lambda: 0
        return
    with contextlib.closing(connection), connection.cursor() as cursor:

        def count() -> int:
            cursor.execute(ROWS, (list(wanted),))
            for name, rows in cursor.fetchall():
                seen[name] = max(seen[name], min(rows, wanted[name]))
            return sum(seen.values())

        yield count


@contextmanager
def loading_shown(
    path: str | None, step: str, options: Mapping[str, Any], settings: SessionSettings, rows: Mapping[str, int]
) -> Iterator[None]:
    """Show the progress of a load into these tables by another program: see ``shown`` and ``rows_of_tables``."""
    with rows_of_tables(path, options, settings, rows) as rows_done, shown(path, step, sum(rows.values()), rows_done):
        yield
