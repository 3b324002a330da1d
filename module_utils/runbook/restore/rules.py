"""Check what must hold before a restore in place starts, and before it may commit."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from ..database.connection import BEGIN, Connection, Cursor, identifier
from ..database.disk_space import free_bytes
from ..database.foreign_keys import ForeignKey, foreign_keys, orphans
from ..errors import RunbookError


def require_disk_space(manifest: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Refuse if the free space is known and smaller than the backed-up tables were.

    :param params: ``free_disk_bytes``, ``disk_path``.
    :raises RunbookError: not enough space; the message has both numbers.
    """
    needed = manifest.get("tables_bytes", 0)
    free, how = free_bytes(params)
    if free is not None and free < needed:
        raise RunbookError(
            f"{free} bytes are free {how}, the restored tables need about {needed}.",
            object_name=params["disk_path"] or "free_disk_bytes",
            next_command="free disk space on the server, then run the same command again",
        )


EAGER_TRIGGERS = """
SELECT n.nspname || '.' || c.relname || ': ' || t.tgname
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') AND n.nspname || '.' || c.relname = ANY (%s)
 ORDER BY 1
"""

OWNED_SEQUENCES = """
SELECT DISTINCT sn.nspname || '.' || s.relname
  FROM pg_catalog.pg_class s
  JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = s.oid
   AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
  JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
 WHERE s.relkind = 'S' AND n.nspname || '.' || t.relname = ANY (%s)
 ORDER BY 1
"""


def require_replica_role(connection: Connection) -> None:
    """Check in a transaction that is rolled back that this role may write rows without firing triggers.

    :raises RunbookError: it may not.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(BEGIN)
            try:
                set_replica_role(cursor, "replica")
            finally:
                cursor.execute("ROLLBACK")
    except psycopg2.errors.InsufficientPrivilege as error:
        raise RunbookError(
            "this role may not set session_replication_role: the restored rows would fire the application's triggers.",
            object_name="session_replication_role",
            sqlstate=error.pgcode or "",
            next_command="as a superuser: GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15)",
        ) from error


def set_replica_role(cursor: Cursor, role: str) -> None:
    """Set session_replication_role (``replica`` or ``origin``) for the rest of the transaction."""
    cursor.execute("SELECT pg_catalog.set_config('session_replication_role', %s, true)", (role,))


def require_tables(cursor: Cursor, tables: Sequence[str]) -> None:
    """Refuse tables that do not exist, and foreign keys that cannot be checked after the restore.

    :raises RunbookError: the message lists them.
    """
    cursor.execute(
        "SELECT name FROM pg_catalog.unnest(%s::text[]) AS name WHERE NOT EXISTS"
        " (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "   WHERE n.nspname || '.' || c.relname = name AND c.relkind = 'r')",
        (list(tables),),
    )
    gone = [name for (name,) in cursor.fetchall()]
    if gone:
        raise RunbookError(
            f"table {', '.join(gone)} no longer exists: a restore in place restores rows, not tables.",
            object_name=gone[0],
            next_command="restore the table's definition first (pg_restore --section=pre-data), then run the same "
            "command again",
        )
    _require_readable(foreign_keys(cursor, tables))


def require_no_eager_triggers(cursor: Cursor, tables: Sequence[str]) -> None:
    """Refuse triggers that also fire under the replica role.

    :raises RunbookError: the message lists them.
    """
    cursor.execute(EAGER_TRIGGERS, (list(tables),))
    found = [name for (name,) in cursor.fetchall()]
    if found:
        raise RunbookError(
            f"triggers that fire under the replica role would change restored rows: {', '.join(found)}.",
            object_name=found[0].split(": ")[0],
            next_command="ALTER TABLE … ENABLE TRIGGER … (instead of ENABLE ALWAYS or REPLICA), then run the same "
            "command again",
        )


def require_whole_keys(cursor: Cursor, tables: Sequence[str], manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check every foreign key from and to the restored tables with an anti-join, validated or not.

    A key that was not validated when the backup was taken may have as many rows without a parent as it had then.

    :returns: ``name``, ``table``, ``parent``, ``orphans`` and ``orphans_allowed`` of each key.
    :raises RunbookError: keys would be violated; the message lists them with the first values without a parent.
    """
    allowed = {(entry["table"], entry["name"]): entry["orphans"] for entry in manifest["unvalidated_keys"]}
    keys = foreign_keys(cursor, tables)
    _require_readable(keys)
    checked: list[dict[str, Any]] = []
    broken: list[str] = []
    for key in keys:
        count, values = orphans(cursor, key)
        tolerated = 0 if key.validated else allowed.get((key.child, key.name), 0)
        checked.append(
            {
                "name": key.name,
                "table": key.child,
                "parent": key.parent,
                "orphans": count,
                "orphans_allowed": tolerated,
            }
        )
        if count > tolerated:
            more = " …" if count > len(values) else ""
            broken.append(f"{count} rows by {key.to_text()}, referencing {', '.join(values)}{more}")
    if broken:
        raise RunbookError(
            f"the restored rows would leave other rows without their parent row: {'; '.join(broken)}. "
            "They were written after the backup, or their parents have been deleted since.",
            object_name=next(entry["table"] for entry in checked if entry["orphans"] > entry["orphans_allowed"]),
            sqlstate="23503",
            next_command="delete or repoint those rows (a safety backup keeps them), then run the same command again",
            facts={"foreign_keys": checked},
        )
    return checked


def owned_sequences(cursor: Cursor, tables: Collection[str]) -> list[str]:
    """Return the sequences owned by columns of these tables. A restore never sets them back, so they stay ahead."""
    cursor.execute(OWNED_SEQUENCES, (list(tables),))
    return [name for (name,) in cursor.fetchall()]


def _require_readable(keys: Sequence[ForeignKey]) -> None:
    hidden = [key for key in keys if not key.readable]
    if hidden:
        raise RunbookError(
            "foreign keys cannot be checked after the restore, because this role may not read both of their tables: "
            f"{', '.join(key.to_text() for key in hidden)}.",
            object_name=hidden[0].child,
            next_command=f"GRANT SELECT ON {hidden[0].child} TO the role (and USAGE on its schema)",
        )


def unvalidated_checks(cursor: Cursor, tables: Sequence[str]) -> dict[int, tuple[str, str]]:
    """Return the CHECK constraints that are not validated: oid → table and name."""
    cursor.execute(
        "SELECT c.oid, n.nspname || '.' || t.relname, c.conname FROM pg_catalog.pg_constraint c"
        " JOIN pg_catalog.pg_class t ON t.oid = c.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace"
        " WHERE c.contype = 'c' AND NOT c.convalidated AND n.nspname || '.' || t.relname = ANY(%s)",
        (list(tables),),
    )
    return {oid: (table, name) for oid, table, name in cursor.fetchall()}


def validate_checks(cursor: Cursor, tables: Sequence[str], before: Container[int]) -> list[str]:
    """Validate the CHECK constraints that revert steps added NOT VALID before the rows were restored.

    A constraint that the rows violate was not validated when the backup was taken either, and stays NOT VALID.

    :param before: oids of constraints that were not validated before the revert steps ran.
    :returns: a text for each validated constraint.
    """
    done = []
    for oid, (table, name) in unvalidated_checks(cursor, tables).items():
        if oid in before:
            continue
        cursor.execute("SAVEPOINT validate_check")
        try:
            cursor.execute(
                sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(identifier(table), sql.Identifier(name))
            )
            done.append(f"validated {name} of {table}")
        except psycopg2.errors.CheckViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT validate_check")
        cursor.execute("RELEASE SAVEPOINT validate_check")
    return done
