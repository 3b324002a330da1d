"""What is logged now, against what should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RunbookError
from ..journal.runs import find_run
from ..session.connection import Cursor
from . import tables as log
from . import triggers


def watched_now(cursor: Cursor, wanted: Mapping[str, Any], snapshot_taken: bool) -> log.Watched:
    """Return what must be logged of a table: the columns that the snapshot has, or else will have, fingerprinted.

    :param snapshot_taken: the run has its snapshot: columns that its migrations added since do not count.
    :raises RunbookError: no such table, or it has no such key.
    """
    present = log.current(cursor).get(wanted["table"])
    if snapshot_taken and present:
        return log.watched_of(present)
    if not triggers.owner_of(cursor, wanted["table"]):
        raise RunbookError(
            f"table {wanted['table']} does not exist, or is no plain table.",
            object_name=wanted["table"],
            next_command="put protected_tables in plan.yml right",
        )
    columns = log.columns_now(cursor, wanted["table"])
    missing = {wanted["key"], *wanted["kept_columns"]} - {column.name for column in columns}
    if missing:
        raise RunbookError(
            f"table {wanted['table']} has no column {', '.join(sorted(missing))}, which its changes are logged with.",
            object_name=wanted["table"],
            next_command="put protected_tables and change_log in plan.yml right",
        )
    return log.Watched(wanted["table"], wanted["key"], columns, tuple(wanted["kept_columns"]))


def is_current(cursor: Cursor, wanted: Mapping[str, Any], snapshot_taken: bool) -> bool:
    """Whether a table is logged as it should be."""
    present = log.current(cursor).get(wanted["table"])
    if present is None:
        return False
    watched = watched_now(cursor, wanted, snapshot_taken)
    return watched == log.watched_of(present) and triggers.intact(cursor, present["id"], watched)


def remove(cursor: Cursor, tables: Sequence[str]) -> list[str]:
    """Take the log away inside a transaction that has locked these tables: what a restore ends with.

    :returns: what was removed, in words.
    """
    watched = log.current(cursor)
    for name in [name for name in watched if name in tables]:
        triggers.drop(cursor, name)
        log.end(cursor, name)
    if watched and not log.current(cursor):
        log.drop(cursor)
    return [f"change log: no longer kept of {name}" for name in watched if name in tables]


def has_snapshot(cursor: Cursor, run_id: str) -> bool:
    """Whether this run has taken its data snapshot."""
    if not run_id or find_run(cursor, run_id) is None:
        return False
    cursor.execute(
        "SELECT status FROM migration_runbook.event WHERE run_id = %s AND phase = 'snapshot_taken'"
        " ORDER BY id DESC LIMIT 1",
        (run_id,),
    )
    return cursor.fetchone() == ("ok",)
