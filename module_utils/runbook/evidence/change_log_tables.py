"""The log's tables: the watched tables, and one row for each row that the application changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from psycopg2.extras import Json

from ..database import queries
from ..database.connection import Cursor, rows_as_dicts
from ..journal.schema import revoke_rights
from .fingerprint import Column, as_column, columns_of, source_of


def relations(text: str) -> list[str]:
    """Return the schema-qualified relations of a query, each once."""
    import pglast  # here: only queries need it, and loading it is slow
    from pglast.visitors import Visitor

    found: dict[str, None] = {}

    class Names(Visitor):
        def visit_RangeVar(self, _: Any, node: Any) -> None:  # noqa: N802
            if node.schemaname:
                found[f"{node.schemaname}.{node.relname}"] = None

    Names()(pglast.parse_sql(text))
    return list(found)


#: No index on ``change``: it is written by every statement of the application and read whole, a few times.
TABLES = """
CREATE TABLE migration_runbook.watch (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    key text NOT NULL,
    columns jsonb NOT NULL,
    kept_columns text[] NOT NULL,
    run_id text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_in xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ended_at timestamptz
);
CREATE UNIQUE INDEX watch_current ON migration_runbook.watch (table_name) WHERE ended_at IS NULL;
COMMENT ON TABLE migration_runbook.watch IS
    'Tables whose changes by the application are logged. columns: what a row''s hash covers.';

CREATE TABLE migration_runbook.change (
    id bigint GENERATED ALWAYS AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT statement_timestamp(),
    old_hash bigint,
    watch_id integer NOT NULL,
    operation "char" NOT NULL,
    key text,
    old_values jsonb
);
COMMENT ON TABLE migration_runbook.change IS
    'One row per changed row. operation: I, U, D or T (TRUNCATE). key is null where no row can be named.';
"""


@dataclasses.dataclass(frozen=True)
class LoggedTable:
    """What to log of one table.

    :param columns: the hash of an old row is over these.
    :param kept_columns: their old values are kept beside the hash, for queries of the plan.
    """

    table: str
    key: str
    columns: Sequence[Column]
    kept_columns: Sequence[str] = ()


def exists(cursor: Cursor) -> bool:
    """Return whether this database has a change log."""
    cursor.execute("SELECT pg_catalog.to_regclass('migration_runbook.change') IS NOT NULL")
    return cursor.fetchone() == (True,)


def make(cursor: Cursor) -> None:
    """Create the missing tables. The journal must exist."""
    if not exists(cursor):
        cursor.execute(TABLES)
        revoke_rights(cursor)


def drop(cursor: Cursor) -> None:
    """Drop the tables; waits for transactions that have written to them."""
    cursor.execute("DROP TABLE migration_runbook.change, migration_runbook.watch")


def current(cursor: Cursor) -> dict[str, dict[str, Any]]:
    """Return the rows of the tables that are watched now, by table name. Works without a log."""
    if not exists(cursor):
        return {}
    cursor.execute("SELECT * FROM migration_runbook.watch WHERE ended_at IS NULL ORDER BY id")
    return {row["table_name"]: row for row in rows_as_dicts(cursor)}


def logged_table_of(row: dict[str, Any]) -> LoggedTable:
    """Return what a row of ``watch`` records."""
    columns = [as_column(column) for column in row["columns"]]
    return LoggedTable(row["table_name"], row["key"], columns, tuple(row["kept_columns"]))


def columns_now(cursor: Cursor, table: str) -> list[Column]:
    """Return the columns that a snapshot taken now would fingerprint."""
    return columns_of(cursor, source_of(table, None))


def add(cursor: Cursor, wanted: LoggedTable, run_id: str) -> int:
    """End the table's current watch, write the new one, and return its id."""
    end(cursor, wanted.table)
    columns = [dataclasses.asdict(column) for column in wanted.columns]
    row: Any = queries.row(
        cursor,
        "INSERT INTO migration_runbook.watch (table_name, key, columns, kept_columns, run_id)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING id",
        (wanted.table, wanted.key, Json(columns), list(wanted.kept_columns), run_id),
    )
    return int(row[0])


def end(cursor: Cursor, table: str) -> None:
    """Record that a table is no longer watched."""
    cursor.execute(
        "UPDATE migration_runbook.watch SET ended_at = clock_timestamp() WHERE table_name = %s AND ended_at IS NULL",
        (table,),
    )
