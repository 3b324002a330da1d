"""Make a live table hold exactly the backup's rows: only rows that differ are touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg2 import sql

from ..errors import RunbookError
from ..session.connection import Cursor, identifier
from ..session.deployment_path import use_deployment_path, use_own_path
from ..session.equality import exact
from .side_tables import SCHEMA, SideTable

LIVE_COLUMNS = """
SELECT attname::text FROM pg_catalog.pg_attribute
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attnum
"""

# Rows of the live table that the backup does not have.
DELETE_EXTRA = "DELETE FROM ONLY {live} AS t WHERE NOT EXISTS (SELECT FROM {side} AS s WHERE {side_key} = {live_key})"

# Kept as a whole: columns that came after the backup keep their values. The stored form is compared, so a change that
# an equality operator does not see (1.0 for 1.00, another case in citext) is one, and types without equality work.
KEEP_CHANGED = """
CREATE UNLOGGED TABLE {changed} AS
SELECT t.* FROM ONLY {live} AS t JOIN {side} AS s ON {side_key} = {live_key}
 WHERE NOT pg_catalog.record_image_eq(ROW({live_values}), ROW({side_values}))
"""

# Taken out and put back rather than updated: two rows that swapped a unique value would stop an UPDATE half-way.
DELETE_CHANGED = "DELETE FROM ONLY {live} AS t USING {changed} AS c WHERE {changed_key} = {live_key}"
INSERT_CHANGED = """
INSERT INTO {live} ({columns}{later_columns}) OVERRIDING SYSTEM VALUE
SELECT {side_values}{later_values} FROM {changed} AS c JOIN {side} AS s ON {side_key} = {changed_key}
"""
INSERT_MISSING = """
INSERT INTO {live} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {side_values} FROM {side} AS s WHERE NOT EXISTS (SELECT FROM ONLY {live} AS t WHERE {live_key} = {side_key})
"""


def reconcile(cursor: Cursor, table: SideTable) -> dict[str, int]:
    """Delete, insert and change rows until the live table equals its side table, over the backup's columns.

    The transaction must run under replica role: no trigger fires and no foreign key is checked, so keys are
    checked afterwards.

    :returns: how many rows were ``deleted``, ``inserted``, ``updated``, and are ``unchanged``.
    :raises RunbookError: the live table lacks a column of the backup.
    """
    later = _later_columns(cursor, table)
    compared = exact(cursor, table.name, table.key)
    keys = {"live_key": "t", "side_key": "s", "changed_key": "c"}
    names = {
        **{name: compared(sql.Identifier(alias, table.key)) for name, alias in keys.items()},
        "live": identifier(table.name),
        "side": table.side,
        "changed": sql.Identifier(SCHEMA, table.side_name.replace("backup", "changed")),
        "columns": _list(table.columns),
        "live_values": _list(table.columns, "t"),
        "side_values": _list(table.columns, "s"),
        "later_columns": _more(later),
        "later_values": _more(later, "c"),
    }

    def run(statement: str) -> int:
        cursor.execute(sql.SQL(statement).format(**names))
        return cursor.rowcount

    # For checks and defaults of the deployment, which this role does not keep quiet.
    use_deployment_path(cursor, [table.name])
    deleted = run(DELETE_EXTRA)
    updated = run(KEEP_CHANGED)
    if updated:
        run(DELETE_CHANGED)
        run(INSERT_CHANGED)
    inserted = run(INSERT_MISSING)
    use_own_path(cursor)
    return {
        "deleted": deleted,
        "inserted": inserted,
        "updated": updated,
        "unchanged": table.rows - inserted - updated,
    }


def _later_columns(cursor: Cursor, table: SideTable) -> list[str]:
    """Return the live table's columns that the backup does not have."""
    cursor.execute(LIVE_COLUMNS, (identifier(table.name).as_string(cursor),))
    live = [name for (name,) in cursor.fetchall()]
    gone = [name for name in table.columns if name not in live]
    if gone:
        raise RunbookError(
            f"{table.name} has no column {', '.join(gone)}, which the backup has, and no revert file brings it back.",
            object_name=table.name,
            next_command="give the revert file of the migration that dropped it",
        )
    return [name for name in live if name not in table.columns]


def _list(columns: Iterable[str], alias: str = "") -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)


def _more(columns: Sequence[str], alias: str = "") -> sql.Composable:
    return sql.SQL(", {}").format(_list(columns, alias)) if columns else sql.SQL("")
