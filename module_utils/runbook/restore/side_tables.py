"""Load the backup's rows into side tables while the application runs, and reconcile the live tables with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from psycopg2 import sql

from ..backup.archive import Archive, table_rows
from ..backup.copy_stream import CHUNK_BYTES, CopyBlock
from ..database.connection import Connection, Cursor, identifier, transaction
from ..database.deployment_path import use_deployment_path, use_own_path
from ..database.equality import exact
from ..database.queries import row, value
from ..database.values import client_encoding
from ..errors import RunbookError, driver_errors
from ..progress.loading import shown

SCHEMA = "migration_runbook_restore"
#: Identifies the schema that a killed restore of any release has left, so it must not change.
_MARK = "Rows of a backup on their way back; made and removed by pg_restore of the migration runbook."

OpenSession = Callable[[], Connection]


@dataclasses.dataclass(frozen=True)
class SideTable:
    """A table of the backup and its side table.

    :param name: ``schema.table``; ``key`` is the column that identifies its rows.
    :param columns: name → type when the backup was taken, without generated columns.
    """

    name: str
    key: str
    columns: Mapping[str, str]
    rows: int
    entry: int
    side_name: str

    @property
    def side(self) -> sql.Composable:
        """The name of the side table, for a statement."""
        return sql.Identifier(SCHEMA, self.side_name)


def side_tables(manifest: Mapping[str, Any], tables: Sequence[Mapping[str, str]]) -> list[SideTable]:
    """Return the tables to load, in the given order.

    :raises RunbookError: the backup does not contain a table or its key.
    """
    found = []
    for number, wanted in enumerate(tables, 1):
        name, key = wanted["table"], wanted["key"]
        details = manifest["tables"].get(name)
        if details is None or key not in details["columns"]:
            what = f"column {key} of {name}" if details else f"table {name}"
            raise RunbookError(
                f"the backup does not contain {what}.",
                object_name=name,
                next_command=f"choose tables and keys of the backup: {', '.join(manifest['tables'])}",
            )
        found.append(SideTable(name, key, details["columns"], details["rows"], details["entry"], f"backup_{number}"))
    return found


@contextmanager
def loaded(
    connection: Connection,
    open_session: OpenSession,
    archive: Archive,
    tables: Sequence[SideTable],
    params: Mapping[str, Any],
) -> Iterator[None]:
    """Load the tables' rows into a new schema for the block, and drop that schema in any case.

    :param open_session: opens a session for a table.
    :param params: ``jobs``, and ``progress_file`` or None.
    :raises RunbookError: the schema exists, the archive differs from its manifest, or a key is not unique.
    """
    _make_schema(connection)
    try:
        # The largest tables first, so that the jobs end at about the same time.
        order = sorted(tables, key=lambda table: -table.rows)
        blocks: list[CopyBlock] = []

        def rows_done() -> int:
            return sum(block.rows for block in list(blocks))

        rows_total = sum(table.rows for table in tables)
        with (
            shown(params["progress_file"], "load the backup's rows beside the live tables", rows_total, rows_done),
            ThreadPoolExecutor(max_workers=params["jobs"]) as pool,
        ):
            list(pool.map(lambda table: _load(open_session, archive, table, blocks), order))
        yield
    finally:
        if connection.closed == 0:
            _drop(connection)


def _drop(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(SCHEMA)))


def _make_schema(connection: Connection) -> None:
    schema = sql.Identifier(SCHEMA)
    with driver_errors(f"creating the schema {SCHEMA}", object_name=SCHEMA), transaction(connection) as cursor:
        left = row(
            cursor,
            "SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace WHERE nspname = %s",
            (SCHEMA,),
        )
        if left and left[0] != _MARK:
            raise RunbookError(
                f"the schema {SCHEMA} exists and was not created by a restore; the restore needs this name.",
                object_name=SCHEMA,
                next_command=f"ALTER SCHEMA {SCHEMA} RENAME TO …",
            )
        if left:  # of a restore that was killed
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        cursor.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(_MARK)))
        _revoke_default_privileges(cursor)


def _revoke_default_privileges(cursor: Cursor) -> None:
    """Revoke what default privileges granted on the new schema: nobody else may read its rows."""
    cursor.execute(
        "SELECT DISTINCT coalesce(r.rolname, 'public') FROM pg_catalog.pg_namespace n"
        " CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee"
        " WHERE n.nspname = %s AND a.grantee <> n.nspowner",
        (SCHEMA,),
    )
    for (role,) in cursor.fetchall():
        grantee = sql.SQL("PUBLIC") if role == "public" else sql.Identifier(role)
        cursor.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(sql.Identifier(SCHEMA), grantee))


def _load(open_session: OpenSession, archive: Archive, table: SideTable, blocks: list[CopyBlock]) -> None:
    """Load a table in its own session and transaction; append its block to those whose rows are counted."""
    session = open_session()
    try:
        with (
            driver_errors(f"loading the backup's rows of {table.name}", object_name=table.name),
            transaction(session) as cursor,
            table_rows(archive, table.name, table.entry) as block,
        ):
            blocks.append(block)
            if list(block.header.columns) != list(table.columns):
                raise RunbookError(
                    f"the archive's columns of {table.name} differ from those in its manifest: {block.header.columns}.",
                    object_name=table.name,
                )
            # Unlogged: it writes no WAL, and after a crash the archive still has the rows.
            cursor.execute(sql.SQL("CREATE UNLOGGED TABLE {} ({})").format(table.side, _columns(cursor, table)))
            names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            copy = sql.SQL("COPY {} ({}) FROM STDIN WITH (FREEZE, ENCODING {})").format(
                table.side, names, sql.Literal(client_encoding(session))
            )
            cursor.copy_expert(copy, cast(BinaryIO, block), size=CHUNK_BYTES)
            if block.rows != table.rows:
                raise RunbookError(
                    f"the archive has {block.rows} rows of {table.name}, but its manifest says {table.rows}.",
                    object_name=table.name,
                )
            cursor.execute(sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(table.side, sql.Identifier(table.key)))
            cursor.execute(sql.SQL("ANALYZE {}").format(table.side))
    finally:
        session.close()


def _columns(cursor: Cursor, table: SideTable) -> sql.Composable:
    parts = []
    for name, type_name in table.columns.items():
        # The manifest is only a file: use nothing in a statement that the server does not know as a type.
        if not value(cursor, "SELECT pg_catalog.to_regtype(%s)", (type_name,)):
            raise RunbookError(
                f"the type {type_name} of column {name} of {table.name} does not exist.", object_name=table.name
            )
        parts.append(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_name)))
    return sql.SQL(", ").join(parts)


LIVE_COLUMNS = """
SELECT attname::text FROM pg_catalog.pg_attribute
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attnum
"""

# Rows of the live table that the backup does not contain.
DELETE_EXTRA = "DELETE FROM ONLY {live} AS t WHERE NOT EXISTS (SELECT FROM {side} AS s WHERE {side_key} = {live_key})"

# Whole rows, so that columns added after the backup keep their values. record_image_eq compares the stored form: it
# also sees changes that an equality operator ignores (1.0 for 1.00, case in citext) and needs no equality operator.
KEEP_CHANGED = """
CREATE UNLOGGED TABLE {changed} AS
SELECT t.* FROM ONLY {live} AS t JOIN {side} AS s ON {side_key} = {live_key}
 WHERE NOT pg_catalog.record_image_eq(ROW({live_values}), ROW({side_values}))
"""

# Deleted and inserted instead of updated: two rows that swapped a unique value would make an UPDATE fail.
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
    """Delete, insert and change rows so that the live table equals its side table in the backup's columns.

    The transaction must use the replica role: no trigger fires and no foreign key is checked, so the caller checks the
    keys afterwards.

    :returns: numbers of rows ``deleted``, ``inserted``, ``updated`` and ``unchanged``.
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

    # Checks and defaults of the deployment run under the replica role too.
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
            f"{table.name} lacks column {', '.join(gone)}, which the backup has and no revert file adds.",
            object_name=table.name,
            next_command="add the revert file of the migration that dropped it to revert_files",
        )
    return [name for name in live if name not in table.columns]


def _list(columns: Iterable[str], alias: str = "") -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)


def _more(columns: Sequence[str], alias: str = "") -> sql.Composable:
    return sql.SQL(", {}").format(_list(columns, alias)) if columns else sql.SQL("")
