"""Record the tables that a run has removed from a publication, in the same transaction."""

from __future__ import annotations

from typing import Any

from ..database.connection import Cursor, rows_as_dicts
from ..database.publications import Member, member_of

#: run_id is not a key: the module can also run a migration without a run.
REMOVAL_TABLE = """
CREATE TABLE migration_runbook.publication_removal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL,
    version text NOT NULL,
    publication text NOT NULL,
    table_name text NOT NULL,
    columns text[],
    row_filter text NOT NULL DEFAULT '',
    taken_out_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    put_back_at timestamptz,
    outcome text NOT NULL DEFAULT ''
);
COMMENT ON TABLE migration_runbook.publication_removal IS
    'Out of its publication for the time of a backfill; where put_back_at is null it still is, with what it had there.';
CREATE UNIQUE INDEX publication_removal_open ON migration_runbook.publication_removal (publication, table_name)
    WHERE put_back_at IS NULL;
"""


def note_taken_out(cursor: Cursor, run_id: str, version: str, member: Member) -> None:
    """Record a table's membership in a publication before it is dropped."""
    cursor.execute(
        "INSERT INTO migration_runbook.publication_removal (run_id, version, publication, table_name, columns,"
        " row_filter) VALUES (%s, %s, %s, %s, %s, %s)",
        (
            *(run_id, version, member.publication, member.table),
            *(None if member.columns is None else list(member.columns), member.row_filter),
        ),
    )


def still_out(cursor: Cursor) -> list[dict[str, Any]]:
    """Return the memberships that were dropped and not restored, each with its ``member``. Works without a journal."""
    cursor.execute("SELECT pg_catalog.to_regclass('migration_runbook.publication_removal') IS NOT NULL")
    if cursor.fetchone() != (True,):
        return []
    cursor.execute("SELECT * FROM migration_runbook.publication_removal WHERE put_back_at IS NULL ORDER BY id")
    return [
        {**row, "member": member_of(row["publication"], row["table_name"], row["columns"], row["row_filter"])}
        for row in rows_as_dicts(cursor)
    ]


def note_put_back(cursor: Cursor, number: int, outcome: str) -> None:
    """Close an entry; call it in the transaction that adds the table again."""
    cursor.execute(
        "UPDATE migration_runbook.publication_removal SET put_back_at = clock_timestamp(), outcome = %s WHERE id = %s",
        (outcome, number),
    )
