"""The archive's rows beside the live tables: loaded while the application still runs, removed after the restore."""

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
from ..database.values import client_encoding
from ..errors import RunbookError, driver_errors
from ..progress.loading import shown

SCHEMA = "migration_runbook_restore"
_MARK = "Rows of a backup on their way back; made and removed by pg_restore of the migration runbook."

OpenSession = Callable[[], Connection]


@dataclasses.dataclass(frozen=True)
class SideTable:
    """A table of the backup and its copy.

    :param name: of the table, as ``schema.table``; ``key``: the column that identifies its rows.
    :param columns: name → type, as they were when the backup was taken (no generated columns).
    """

    name: str
    key: str
    columns: Mapping[str, str]
    rows: int
    entry: int
    side_name: str

    @property
    def side(self) -> sql.Composable:
        """The copy, for a statement."""
        return sql.Identifier(SCHEMA, self.side_name)


def side_tables(manifest: Mapping[str, Any], tables: Sequence[Mapping[str, str]]) -> list[SideTable]:
    """Return the tables to load, in the order given.

    :raises RunbookError: the backup lacks one, or its key.
    """
    found = []
    for number, wanted in enumerate(tables, 1):
        name, key = wanted["table"], wanted["key"]
        details = manifest["tables"].get(name)
        if details is None or key not in details["columns"]:
            what = f"column {key} of {name}" if details else f"table {name}"
            raise RunbookError(
                f"the backup does not hold {what}.",
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
    """Load the tables' rows into a schema of their own, and drop that schema whatever happens inside.

    :param open_session: opens one more session for each worker.
    :param params: ``workers``; ``progress_file``, for the screen, or None.
    :raises RunbookError: a name is taken, the archive does not hold what its manifest says, or a key is not unique.
    """
    _make_schema(connection)
    try:
        # The longest first: the others fill the time of the other workers.
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
    with driver_errors(f"making the schema {SCHEMA}", object_name=SCHEMA), transaction(connection) as cursor:
        cursor.execute(
            "SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace WHERE nspname = %s",
            (SCHEMA,),
        )
        left = cursor.fetchone()
        if left is not None and left[0] != _MARK:
            raise RunbookError(
                f"the schema {SCHEMA} exists and was not made by a restore: its name is needed.",
                object_name=SCHEMA,
                next_command=f"ALTER SCHEMA {SCHEMA} RENAME TO …",
            )
        if left is not None:  # of a restore that was killed
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        cursor.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(_MARK)))
        _revoke_default_privileges(cursor)


def _revoke_default_privileges(cursor: Cursor) -> None:
    """Take away what default privileges gave on the new schema: its rows are for nobody else."""
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
    """Load one table in a session and a transaction of its own; its block is added to those that count rows."""
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
                    f"the archive's columns of {table.name} are not those of its manifest: {block.header.columns}.",
                    object_name=table.name,
                )
            # Unlogged: a crash loses nothing that the archive does not have, and it costs no WAL.
            cursor.execute(sql.SQL("CREATE UNLOGGED TABLE {} ({})").format(table.side, _columns(cursor, table)))
            names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            copy = sql.SQL("COPY {} ({}) FROM STDIN WITH (FREEZE, ENCODING {})").format(
                table.side, names, sql.Literal(client_encoding(session))
            )
            cursor.copy_expert(copy, cast(BinaryIO, block), size=CHUNK_BYTES)
            if block.rows != table.rows:
                raise RunbookError(
                    f"the archive holds {block.rows} rows of {table.name}, its manifest says {table.rows}.",
                    object_name=table.name,
                )
            cursor.execute(sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(table.side, sql.Identifier(table.key)))
            cursor.execute(sql.SQL("ANALYZE {}").format(table.side))
    finally:
        session.close()


def _columns(cursor: Cursor, table: SideTable) -> sql.Composable:
    parts = []
    for name, type_name in table.columns.items():
        # The manifest is a file: only what the server reads as the name of a type goes into a statement.
        cursor.execute("SELECT pg_catalog.to_regtype(%s) IS NOT NULL", (type_name,))
        if cursor.fetchone() != (True,):
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
