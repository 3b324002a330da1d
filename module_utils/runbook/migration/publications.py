"""Out of the publications and back, each in one transaction with its journal row: no kill comes between the two."""

from __future__ import annotations

from typing import Any

import psycopg2

from ..database.connection import Cursor, identifier
from ..database.publications import Member, members, not_removable
from ..errors import RunbookError
from ..journal import removals as journal

Removed = dict[str, Any]

WITHOUT = "the same command with -e migration_execution_unpublish_during_backfill=false"


def require_removable(cursor: Cursor, table: str) -> None:
    """Refuse a table that cannot be taken out of a publication that sends its updates.

    :raises RunbookError: which publication, and why.
    """
    refused = not_removable(cursor, table)
    if refused:
        reasons = "; ".join(f"{row['publication']}: {row['reason']}" for row in refused)
        raise RunbookError(
            f"{table} cannot be taken out of its publications for the backfill: {reasons}.",
            object_name=table,
            next_command=f"{WITHOUT}: subscribers get an event for each moved row; or let the publication name its "
            "tables, owned by this role",
        )


def take_out(cursor: Cursor, run_id: str, version: str, table: str) -> list[Member]:
    """Note what a table has in its publications, then take it out, inside the caller's transaction.

    That it can be put back as it was is tried first, and undone.

    :raises RunbookError: it cannot be taken out, or would not come back the same.
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
            f"{table} would not come back into its publications as it is there now: {again} instead of {found}.",
            object_name=table,
            next_command=WITHOUT,
        )
    cursor.execute("ROLLBACK TO SAVEPOINT tried")
    return found


def put_back(cursor: Cursor, only: tuple[str, str] | None = None) -> list[Removed]:
    """Put back what the journal says is out, inside the caller's transaction, with the column list and filter it had.

    :param only: publication and table; else all.
    :returns: each with ``publication``, ``table``, ``outcome``.
    """
    done: list[Removed] = []
    for row in journal.still_out(cursor):
        member: Member = row["member"]
        if only is not None and (member.publication, member.table) != only:
            continue
        outcome = _outcome(cursor, member)
        if not outcome:
            cursor.execute(member.add())
            outcome = "put back"
        journal.note_put_back(cursor, row["id"], outcome)
        done.append({"publication": member.publication, "table": member.table, "outcome": outcome})
    return done


def put_back_where_possible(cursor: Cursor) -> list[str]:
    """Put back what is out, and say so line by line; what the server refuses stays out, for who has worse to mend."""
    lines: list[str] = []
    for row in journal.still_out(cursor):
        place = row["publication"], row["table_name"]
        cursor.execute("SAVEPOINT one_table")
        try:
            outcome = put_back(cursor, place)[0]["outcome"]
        except psycopg2.Error as error:
            cursor.execute("ROLLBACK TO SAVEPOINT one_table")
            outcome = f"stays outside ({error.diag.message_primary}): playbooks/repair.yml -e issue=unfinished_objects"
        lines.append(f"publication {place[0]}: {place[1]} {outcome}")
    return lines


def _outcome(cursor: Cursor, member: Member) -> str:
    """Why there is nothing to put back: somebody did, or took away one of the two."""
    cursor.execute(
        "SELECT b.oid IS NULL, r.oid IS NULL,"
        " EXISTS (SELECT FROM pg_catalog.pg_publication_rel m WHERE m.prpubid = b.oid AND m.prrelid = r.oid)"
        " FROM (SELECT 1) AS one"
        " LEFT JOIN pg_catalog.pg_publication b ON b.pubname = %s"
        " LEFT JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.to_regclass(%s)",
        (member.publication, identifier(member.table).as_string(cursor)),
    )
    row: Any = cursor.fetchone()
    words = ("the publication is gone", "the table is gone", "was there already")
    return next((text for text, holds in zip(words, row, strict=True) if holds), "")
