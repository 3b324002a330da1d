"""Copy the journal from the live database to the restored one, in which no migration of the run is applied."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from psycopg2 import sql

from ..database.connection import Connection, Cursor, read_only_snapshot, transaction
from ..journal import ledger, runs
from ..journal import schema as journal
from ..journal import steps as journal_steps

# Referenced tables first. No table both references another and is referenced.
TABLES = """
SELECT c.relname::text,
       pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) AS columns
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s) AND c.relkind = 'r'
 GROUP BY c.oid, c.relname
 ORDER BY EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'), c.relname
"""

IDENTITIES = """
SELECT c.relname::text, a.attname::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
 WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s) AND c.relkind = 'r'
"""


def copy_journal(live: Connection, side: Connection, run_id: str, details: Mapping[str, Any]) -> dict[str, int]:
    """Copy the journal and record the restore in the copy. The run stays open until the rollback is complete.

    The change log is not copied: it describes changes that the restored database does not contain.

    :param details: details of the event ``restored``.
    :returns: number of rows copied, by table.
    """
    journal.ensure(side)
    copied: dict[str, int] = {}
    with read_only_snapshot(live) as source, transaction(side) as target:
        source_tables = _tables(source)
        tables = _tables(target)
        for name in reversed(tables):
            target.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(journal.SCHEMA, name)))
        for name, columns in tables.items():
            common = [column for column in columns if column in source_tables.get(name, ())]
            if common:
                copied[name] = _copy(source, target, name, common)
        _advance_identities(target)
        _record_restore(target, run_id, details)
    return copied


def _tables(cursor: Cursor) -> dict[str, list[str]]:
    cursor.execute(TABLES, (journal.SCHEMA,))
    return dict(cursor.fetchall())


def _copy(source: Cursor, target: Cursor, name: str, columns: list[str]) -> int:
    names = {
        "table": sql.Identifier(journal.SCHEMA, name),
        "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
    }
    with tempfile.TemporaryFile() as rows:
        source.copy_expert(sql.SQL("COPY {table} ({columns}) TO STDOUT").format(**names), rows)
        rows.seek(0)
        target.copy_expert(sql.SQL("COPY {table} ({columns}) FROM STDIN").format(**names), rows)
    return target.rowcount


def _advance_identities(target: Cursor) -> None:
    """Set the sequences of identity columns to continue after the copied rows."""
    target.execute(IDENTITIES, (journal.SCHEMA,))
    for table, column in target.fetchall():
        target.execute(
            sql.SQL(
                "SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence(%s, %s), coalesce(max({}), 0) + 1, false)"
                " FROM {}"
            ).format(sql.Identifier(column), sql.Identifier(journal.SCHEMA, table)),
            (f"{journal.SCHEMA}.{table}", column),
        )


def _record_restore(target: Cursor, run_id: str, details: Mapping[str, Any]) -> None:
    applied = ledger.read(target)
    undone = {step["version"] for step in journal_steps.current_steps(target)} - set(applied)
    journal_steps.supersede(target, undone)
    target.execute("UPDATE migration_runbook.lease SET released_at = clock_timestamp() WHERE released_at IS NULL")
    # Reopen a complete run until the rollback is complete, so that the same command finds it.
    target.execute(
        "UPDATE migration_runbook.run SET state = 'open', finished_at = NULL WHERE run_id = %s"
        " AND NOT EXISTS (SELECT FROM migration_runbook.run WHERE state = 'open')",
        (run_id,),
    )
    runs.record(target, run_id, "restored", "ok", {**details, "reverted_versions": sorted(undone)})
