"""Find recent writes of the new application in the change log, with the plan's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor
from ..database.queries import first_rows, read_query
from ..errors import driver_errors
from ..evidence import change_log_tables as log
from ..evidence import change_log_triggers

#: The plan's queries read ``recent``. ``transaction`` is the same for all rows of one transaction.
RECENT = """
WITH recent AS MATERIALIZED (
    SELECT w.table_name, c.key, c.operation::text AS operation, c.xid::text AS transaction, c.at, c.old_values
      FROM migration_runbook.change c
      JOIN migration_runbook.watch w ON w.id = c.watch_id AND w.ended_at IS NULL
     WHERE c.key IS NOT NULL AND c.at > clock_timestamp() - make_interval(secs => {seconds}))
{query}
"""

Found = dict[str, Any]


def writes_of_new_application(
    cursor: Cursor, queries: Sequence[Mapping[str, Any]], versions: Sequence[str], quiet_seconds: int
) -> list[Found]:
    """Return the plan's queries that find rows, with samples; only queries of the versions to undo are executed.

    Needs an open transaction.
    """
    found: list[Found] = []
    for entry in queries:
        if entry["below"] not in versions:
            continue
        text = sql.SQL(RECENT).format(seconds=sql.Literal(quiet_seconds), query=sql.SQL(read_query(entry["query"])))
        with driver_errors(f"the query {entry['query']} failed", object_name=entry["query"]):
            rows, number = first_rows(cursor, text.as_string(cursor), 5)
        if number:
            found.append({"below": entry["below"], "meaning": entry["meaning"], "rows": number, "samples": rows})
    return found


def log_incomplete(cursor: Cursor, tables: Sequence[str]) -> str:
    """Return why the change log does not contain all writes; empty if it does."""
    logged = log.current(cursor)
    missing = [name for name in tables if name not in logged]
    if missing:
        return f"there is no change log of {', '.join(missing)}"
    for name in tables:
        if not change_log_triggers.intact(cursor, logged[name]["id"], log.logged_table_of(logged[name])):
            return f"the change log's triggers on {name} were dropped, disabled or replaced"
    return ""
