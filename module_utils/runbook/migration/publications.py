"""Remove tables from publications and add them back, each in one transaction with its journal row."""

from __future__ import annotations

from typing import Any

import psycopg2

from ..database.connection import Cursor, identifier
from ..database.publications import Member, members, not_removable
from ..database.queries import row
from ..errors import RunbookError
from ..journal import removals as journal

Removed = dict[str, Any]

WITHOUT = "the same command with -e migration_execution_unpublish_during_backfill=false"


def require_removable(cursor: Cursor, table: str) -> None:
    """Refuse a table that cannot be removed from a publication that sends its updates.

    :raises RunbookError: with the publication and the reason.
    """
    refused = not_removable(cursor, table)
    if refused:
        reasons = "; ".join(f"{entry['publication']}: {entry['reason']}" for entry in refused)
        raise RunbookError(
            f"{table} cannot be removed from its publications for the backfill: {reasons}.",
            object_name=table,
            next_command=f"{WITHOUT}: subscribers get an event for each moved row; or use a publication that lists its "
            "tables and belongs to this role",
        )


def take_out(cursor: Cursor, run_id: str, version: str, table: str) -> list[Member]:
    """Journal a table's membership in its publications and remove it, inside the caller's transaction.

    A savepoint tests first that it can be added back unchanged.

    :raises RunbookError: it cannot be removed, or not be added back unchanged.
    """
    require_removable(cursor, table)
    found = members(cursor, table)
    for member in found:
        journal.note_taken_out(cursor, run_id, version, member)
        cursor.execute(member.drop())
    cursor.execute("SAVEPOINT tried")
    for member in found:
        cursor.execute(member.add())
    again = members(cursor, table)
    if again != found:
        raise RunbookError(
            f"{table} could not be added back to its publications unchanged: {again} instead of {found}.",
            object_name=table,
            next_command=WITHOUT,
        )
    cursor.execute("ROLLBACK TO SAVEPOINT tried")
    return found


def put_back(cursor: Cursor, only: tuple[str, str] | None = None) -> list[Removed]:
    """Add back the tables that the journal lists as removed, with column list and filter, in the caller's transaction.

    :param only: publication and table; default all.
    :returns: each with ``publication``, ``table``, ``outcome``.
    """
    done: list[Removed] = []
    for removed in journal.still_out(cursor):
        member: Member = removed["member"]
        if only is not None and (member.publication, member.table) != only:
            continue
        outcome = _outcome(cursor, member)
        if not outcome:
            cursor.execute(member.add())
            outcome = "put back"
        journal.note_put_back(cursor, removed["id"], outcome)
        done.append({"publication": member.publication, "table": member.table, "outcome": outcome})
    return done


def put_back_where_possible(cursor: Cursor) -> list[str]:
    """Add back removed tables and return a line for each.

    A table that the server refuses stays outside: the caller is already handling a worse failure.
    """
    lines: list[str] = []
    for removed in journal.still_out(cursor):
        place = removed["publication"], removed["table_name"]
        cursor.execute("SAVEPOINT one_table")
        try:
            outcome = put_back(cursor, place)[0]["outcome"]
        except psycopg2.Error as error:
            cursor.execute("ROLLBACK TO SAVEPOINT one_table")
            outcome = f"stays outside ({error.diag.message_primary}): playbooks/repair.yml -e issue=unfinished_objects"
        lines.append(f"publication {place[0]}: {place[1]} {outcome}")
    return lines


def _outcome(cursor: Cursor, member: Member) -> str:
    """Return why nothing is to be added back; empty otherwise."""
    found: Any = row(
        cursor,
        "SELECT b.oid IS NULL, r.oid IS NULL,"
        " EXISTS (SELECT FROM pg_catalog.pg_publication_rel m WHERE m.prpubid = b.oid AND m.prrelid = r.oid)"
        " FROM (SELECT 1) AS one"
        " LEFT JOIN pg_catalog.pg_publication b ON b.pubname = %s"
        " LEFT JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.to_regclass(%s)",
        (member.publication, identifier(member.table).as_string(cursor)),
    )
    words = ("the publication is gone", "the table is gone", "was there already")
    return next((text for text, holds in zip(words, found, strict=True) if holds), "")
