"""Create the triggers that write the log: one function per table, called once per statement of the application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2 import sql

from ..database import queries
from ..database.connection import Cursor, identifier
from ..journal.schema import APPLICATION_ROLES, SCHEMA
from .change_log_tables import LoggedTable
from .fingerprint import Column, row_hash

#: This prefix lets a restore elsewhere exclude them, and shows an operator their owner.
PREFIX = "runbook_change_log_"
TRIGGERS = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}

#: Types whose form in the hash is the same whatever the session has set (enums too). For others the function sets
#: what the snapshot's sessions set, which costs a little on each call.
_SAME_IN_EVERY_SESSION = (
    *(16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 650, 701, 829, 869, 1007, 1009, 1015, 1016, 1042, 1043),
    *(1082, 1083, 1114, 1184, 1560, 1562, 1700, 2950, 2951, 3614, 3802),
)
#: Hashed in binary form, but a key is text.
_KEY_TEXT_DIFFERS = (17, 701, 1082, 1083, 1114, 1184)
_SESSION = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}

# The session's own role, not current_user: that is the definer here, and the table's owner within a cascade.
_BODY = """
#variable_conflict use_column
BEGIN
    -- The run's own writes are no application's. The setting alone is believed from nobody but the table's owner.
    IF coalesce(pg_catalog.current_setting('runbook.run_id', true), '') <> '' AND pg_catalog.pg_has_role(
        coalesce(nullif(pg_catalog.current_setting('role'), 'none'), session_user)::name, {owner}::oid, 'USAGE'
    ) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO migration_runbook.change (watch_id, operation, key)
        SELECT {id}, 'I', n.key FROM {new_keys} AS n;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO migration_runbook.change (watch_id, operation, key, old_hash, old_values)
        SELECT {id}, CASE WHEN o.key IS NULL THEN 'I' WHEN n.key IS NULL THEN 'D' ELSE 'U' END,
               coalesce(o.key, n.key), o.hash, o.kept
        FROM {old_rows} AS o FULL JOIN {new_keys} AS n ON n.key = o.key;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO migration_runbook.change (watch_id, operation, key, old_hash, old_values)
        SELECT {id}, 'D', o.key, o.hash, o.kept FROM {old_rows} AS o;
    ELSE
        INSERT INTO migration_runbook.change (watch_id, operation) VALUES ({id}, 'T');
    END IF;
    RETURN NULL;
END
"""


def body(cursor: Cursor, watch_id: int, logged: LoggedTable, owner: int) -> str:
    """Return the text of the table's function."""
    key = sql.SQL('{}::text COLLATE "C" AS key').format(sql.Identifier("r", logged.key))
    kept: sql.Composable = sql.SQL("NULL::jsonb")
    if logged.kept_columns:
        pairs = [part for name in logged.kept_columns for part in (sql.Literal(name), sql.Identifier("r", name))]
        kept = sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))
    key_column = [column for column in logged.columns if column.name == logged.key]
    old = sql.SQL("{}, {} AS hash, {} AS kept").format(key, row_hash(logged.columns, "r"), kept)
    text: str = (
        sql.SQL(_BODY)
        .format(
            owner=sql.Literal(owner),
            id=sql.Literal(watch_id),
            new_keys=_rows("new_rows", key, key_column),
            old_rows=_rows("old_rows", old, logged.columns),
        )
        .as_string(cursor)
    )
    return text


def _rows(table: str, selected: sql.Composable, columns: Sequence[Column]) -> sql.Composable:
    """Return a subquery over a transition table that does not fail when a migration drops one of the columns.

    A missing name resolves to an outer column, which is null: the application's statement succeeds, and the
    comparison with the snapshot reports the missing column.
    """
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    nulls = sql.SQL(", ").join(
        sql.SQL("NULL::{} AS {}").format(sql.SQL(column.type_name), sql.Identifier(column.name)) for column in columns
    )
    return sql.SQL("(SELECT {} FROM (SELECT {}) AS gone CROSS JOIN LATERAL (SELECT {} FROM {}) AS r)").format(
        selected, nulls, names, sql.Identifier(table)
    )


def create(cursor: Cursor, watch_id: int, logged: LoggedTable) -> list[str]:
    """Create the function and the triggers of the table, replacing those of an earlier watch.

    :returns: the statements.
    """
    owner = owner_of(cursor, logged.table)
    name = sql.Identifier(SCHEMA, function_name(watch_id))
    # pg_temp last: otherwise a temporary type of the caller's would be found before text or uuid.
    settings: list[sql.Composable] = [sql.SQL("SET search_path = pg_catalog, pg_temp")]
    if _depends_on_session(cursor, logged):
        settings += [
            sql.SQL("SET {} = {}").format(sql.Identifier(key), sql.Literal(value)) for key, value in _SESSION.items()
        ]
    statements: list[sql.Composable] = [
        sql.SQL("CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {} AS {}").format(
            name, sql.SQL(" ").join(settings), sql.Literal(body(cursor, watch_id, logged, owner))
        ),
        sql.SQL("REVOKE ALL ON FUNCTION {}() FROM {}").format(name, sql.SQL(", ").join(_grantees(cursor))),
    ]
    statements += [
        sql.SQL("CREATE OR REPLACE TRIGGER {} AFTER {} ON {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()").format(
            sql.Identifier(PREFIX + event.lower()), sql.SQL(event), identifier(logged.table), sql.SQL(rows), name
        )
        for event, rows in TRIGGERS.items()
    ]
    for statement in statements:
        cursor.execute(statement)
    _drop_functions(cursor, logged.table, keep=watch_id)
    return [statement.as_string(cursor) for statement in statements]


def drop(cursor: Cursor, table: str) -> None:
    """Drop the triggers and their function. Locks the table exclusively."""
    for event in TRIGGERS:
        cursor.execute(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(PREFIX + event.lower()), identifier(table))
        )
    _drop_functions(cursor, table)


def intact(cursor: Cursor, watch_id: int, logged: LoggedTable) -> bool:
    """Return whether all triggers of this watch exist, are enabled, and have the right function."""
    row: Any = queries.row(
        cursor,
        "SELECT p.prosrc, p.prosecdef,"
        " (SELECT pg_catalog.array_agg(t.tgname::text ORDER BY t.tgname) FROM pg_catalog.pg_trigger t"
        "   JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "  WHERE t.tgfoid = p.oid AND t.tgenabled = 'O' AND n.nspname || '.' || c.relname = %s)"
        " FROM pg_catalog.pg_proc p WHERE p.pronamespace = pg_catalog.to_regnamespace(%s) AND p.proname = %s",
        (logged.table, SCHEMA, function_name(watch_id)),
    )
    names = sorted(PREFIX + event.lower() for event in TRIGGERS)
    return row is not None and tuple(row) == (
        body(cursor, watch_id, logged, owner_of(cursor, logged.table)),
        True,
        names,
    )


def function_name(watch_id: int) -> str:
    """Name of a watch's function."""
    return f"change_log_{watch_id}"


def owner_of(cursor: Cursor, table: str) -> int:
    """Return the oid of the table's owner; 0 if the table does not exist."""
    row = queries.row(
        cursor,
        "SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname || '.' || c.relname = %s AND c.relkind = 'r'",
        (table,),
    )
    return int(row[0]) if row else 0


def _drop_functions(cursor: Cursor, table: str, keep: int = 0) -> None:
    cursor.execute("SELECT id FROM migration_runbook.watch WHERE table_name = %s AND id <> %s", (table, keep))
    for (watch_id,) in cursor.fetchall():
        cursor.execute(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(sql.Identifier(SCHEMA, function_name(watch_id))))


def _depends_on_session(cursor: Cursor, logged: LoggedTable) -> bool:
    if any(column.name == logged.key and column.type_id in _KEY_TEXT_DIFFERS for column in logged.columns):
        return True
    types = [column.type_id for column in logged.columns if column.type_id not in _SAME_IN_EVERY_SESSION]
    cursor.execute(
        "SELECT count(*) > 0 FROM pg_catalog.pg_type WHERE oid = ANY (%s::oid[]) AND typtype <> 'e'", (types,)
    )
    return cursor.fetchone() == (True,)


def _grantees(cursor: Cursor) -> list[sql.Composable]:
    cursor.execute("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)", (APPLICATION_ROLES,))
    return [sql.SQL("PUBLIC"), *(sql.Identifier(name) for (name,) in cursor.fetchall())]
