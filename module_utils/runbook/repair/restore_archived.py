"""Restore archived rows to their tables where possible, and report why the other rows stay in the archive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
import psycopg2.extras
from psycopg2 import sql

from ..database.connection import Cursor, SessionSettings, identifier, read_only_snapshot, rows_as_dicts, session
from ..database.deployment_path import use_deployment_path
from ..database.queries import ROWS_SHOWN, value
from ..errors import RunbookError
from ..journal import repairs as journal
from ..journal.runs import new_run_id
from ..plain import to_plain
from ..visible import visible
from .archive import set_up_archive
from .documents import define_documents
from .repair import Params, Result, in_one_transaction

#: A bigint, the type of the archive's key.
ARCHIVE_ID = re.compile("[0-9]{1,18}")
EMPTY: Result = {
    "repair_id": "", "archived": [], "rows_examined": 0, "rows_restored": 0, "restored": [], "refused": [],
    "summary": [],
}  # fmt: skip


def restore_archived(params: Params, *, check_mode: bool) -> Result:
    """Restore archived rows. See pg_restore_archived for options and result.

    :raises RunbookError: the archive has none of the requested rows, or none of them can be restored.
    """
    table = params["plan"]["archive"]["table"]
    named = bool(params["archive_ids"] or params["reason"] or params["archived_by"])
    wrong = [number for number in params["archive_ids"] if not ARCHIVE_ID.fullmatch(number)]
    if wrong:
        raise RunbookError(
            f"archive_ids must be a list of archive ids; these are not: {', '.join(wrong)}.",
            object_name=table,
            next_command=params["retry_command"],
        )
    if not named or check_mode:
        return _list(params, table, named)
    repair_id = f"restore-{new_run_id()}"

    def work(cursor: Cursor) -> Result:
        # A rollback may have moved the archive to another schema; the setup step moves it back.
        set_up_archive(cursor, params["plan"])
        define_documents(cursor)
        rows = _rows(cursor, table, params, lock=True)
        use_deployment_path(cursor, sorted({row["table_name"] for row in rows if _exists(cursor, row["table_name"])}))
        restored, refused = _restore(cursor, table, rows, params["values"])
        result = {
            **EMPTY, "changed": bool(restored), "repair_id": repair_id, "rows_examined": len(rows),
            "rows_restored": len(restored), "restored": restored, "refused": refused,
        }  # fmt: skip
        summary = [f"restored: archive id {row['id']}, {row['table_name']}" for row in restored[:ROWS_SHOWN]]
        summary += [
            f"kept in the archive: id {row['id']}, {row['table_name']}: {row['why']}" for row in refused[:ROWS_SHOWN]
        ]
        result["msg"] = f"{len(restored)} of {len(rows)} archived rows restored, {len(refused)} stay in the archive"
        result["summary"] = [*summary, str(result["msg"])]
        if not restored:
            raise RunbookError(
                f"none of {len(rows)} archived rows can be restored: {'; '.join(row['why'] for row in refused[:3])}.",
                object_name=table,
                next_command=params["retry_command"]
                + """ -e archive_ids=<id> -e '{"values": {"<column>": "<value>"}}'""",
                facts={"refused": refused, "rows_examined": len(rows)},
            )
        counts = {"examined": len(rows), "found": len(rows), "changed": len(restored), "archived": 0}
        entry = {f"rows_{name}": number for name, number in counts.items()}
        details = {"restored": restored[:1000], "refused": refused[:1000]}
        journal.put(
            cursor, repair_id, params["plan"]["plan"], "restore_archived", "restore", {**entry, "details": details}
        )
        return result

    return in_one_transaction(params, repair_id, "restore_archived", work)


def _list(params: Params, table: str, named: bool) -> Result:
    """Return the archived rows that were requested; without a request, the counts by reason, table and run."""
    settings = SessionSettings(application_name="runbook archive_info", read_only=True)
    with session(params["connection"], settings) as connection, read_only_snapshot(connection) as cursor:
        # Read the archive where a rollback has put it: only a restore moves it back.
        aside = params["plan"]["archive"]["set_aside"]
        places = [table, *([aside] if aside else [])]
        table = next((place for place in places if _exists(cursor, place)), "")
        if not table:
            message = f"{' and '.join(places)} do not exist" if aside else f"{places[0]} does not exist"
            message = f"nothing was archived: {message}"
            return {**EMPTY, "changed": False, "msg": message, "summary": [message]}
        if named:
            rows = _rows(cursor, table, params, lock=False)
            number = len(rows)
            message = f"{number} archived rows would be restored where possible"
            lines = [f"archive id {row['id']}: {row['reason']}, {row['table_name']}" for row in rows[:ROWS_SHOWN]]
        else:
            cursor.execute(
                sql.SQL(
                    "SELECT reason, table_name, run_id AS archived_by, count(*) AS rows, min(id) AS first_id,"
                    " max(id) AS last_id FROM {} GROUP BY reason, table_name, run_id ORDER BY min(id)"
                ).format(identifier(table))
            )
            rows = rows_as_dicts(cursor)
            number = sum(row["rows"] for row in rows)
            message = f"{number} rows in the archive ({table}); nothing was changed"
            lines = [
                f"{row['rows']} of {row['table_name']}: {row['reason']} (ids {row['first_id']} to {row['last_id']},"
                f" by {row['archived_by'] or 'the application'})"
                for row in rows
            ]
            # A reason contains blanks and a colon, so it must be quoted for the shell and for Ansible.
            ways = "-e archive_ids=<id>,<id>, or -e \"reason='<reason>'\", or -e archived_by=<id>"
            lines += [f"next: {params['retry_command']} {ways}"]
    plain: list[dict[str, Any]] = to_plain(rows)
    return {
        **EMPTY, "changed": named and number > 0, "msg": message, "archived": plain[:1000], "rows_examined": number,
        "summary": [*lines, message],
    }  # fmt: skip


def _exists(cursor: Cursor, table: str) -> bool:
    return bool(value(cursor, "SELECT pg_catalog.to_regclass(%s)", (identifier(table).as_string(cursor),)))


def _rows(cursor: Cursor, table: str, params: Params, *, lock: bool) -> list[dict[str, Any]]:
    """Return the requested archived rows in the order in which they were archived: parents first."""
    ids = [int(number) for number in params["archive_ids"]]
    rows = []
    if _exists(cursor, table):
        cursor.execute(
            sql.SQL(
                "SELECT id, reason, table_name, row_data FROM {} WHERE (id = ANY (%s) OR %s) AND (reason = %s OR %s)"
                " AND (run_id = %s OR %s) ORDER BY id {}"
            ).format(identifier(table), sql.SQL("FOR UPDATE" if lock else "")),
            (ids, not ids, params["reason"], not params["reason"], params["archived_by"], not params["archived_by"]),
        )
        rows = rows_as_dicts(cursor)
    missing = set(ids) - {row["id"] for row in rows}
    if missing or not rows:
        what = f"archive ids {', '.join(map(str, sorted(missing)))}" if missing else "such rows"
        raise RunbookError(
            f"{table} has no {what}: already restored, or never archived.",
            object_name=table,
            next_command=params["retry_command"],
        )
    return rows


def _restore(
    cursor: Cursor, table: str, rows: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    restored: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for row in rows:
        entry = {"id": row["id"], "table_name": row["table_name"], "reason": row["reason"]}
        cursor.execute("SAVEPOINT one_row")
        try:
            # A deferred constraint would reject all rows at the commit.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            why = _insert(cursor, table, row, values)
        except psycopg2.Error as error:
            why = visible(". ".join(filter(None, (error.diag.message_primary, error.diag.message_detail))) or error)
        if why:
            cursor.execute("ROLLBACK TO SAVEPOINT one_row")
            refused.append({**entry, "why": why})
        else:
            cursor.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(identifier(table)), (row["id"],))
            restored.append(entry)
        cursor.execute("RELEASE SAVEPOINT one_row")
    return restored, refused


def _insert(cursor: Cursor, archive: str, row: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Restore a row and return why it was not restored, or an empty text.

    The row does not pass through Python, which cannot represent every number of a document exactly.
    """
    table = row["table_name"]
    if not _exists(cursor, table):
        return f"{visible(table)} does not exist"
    changes, names = psycopg2.extras.Json(dict(values)), {"archive": identifier(archive), "table": identifier(table)}
    cursor.execute(
        sql.SQL(
            "SELECT c.attname FROM pg_catalog.pg_attribute AS c WHERE c.attrelid = %s::regclass AND c.attnum > 0"
            " AND NOT c.attisdropped AND c.attgenerated = ''"
            " AND (SELECT a.row_data || %s::jsonb FROM {archive} AS a WHERE a.id = %s) ? c.attname"
        ).format(**names),
        (identifier(table).as_string(cursor), changes, row["id"]),
    )
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in cursor.fetchall())
    cursor.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns}"
            " FROM (SELECT pg_temp.document_row(NULL::{table}, row_data) AS kept FROM {archive} WHERE id = %s) AS a"
            " CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(a.kept, %s::jsonb)"
        ).format(**names, columns=columns),
        (row["id"], changes),
    )
    return "" if cursor.rowcount else f"a trigger of {table} suppressed the row"
