"""Finish what cancelled statements left: invalid indexes, unvalidated constraints, tables out of a publication."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg2
from psycopg2 import sql

from ..database.connection import (
    Connection,
    Cursor,
    SessionSettings,
    identifier,
    read_only_snapshot,
    rows_as_dicts,
    session,
    transaction,
)
from ..database.queries import value
from ..errors import RunbookError, from_driver
from ..journal import repairs as journal
from ..journal.lease import exclusive
from ..journal.removals import still_out
from ..journal.runs import ensure, new_run_id
from ..journal.unconfirmed import noted
from ..locking.blockers import to_text as blockers_to_text
from ..locking.wait_report import WaitReport
from ..migration.publications import put_back
from ..private_files import read_json
from ..progress_feed import Writer

Result = dict[str, Any]
Object = dict[str, str]

EMPTY: Result = {"repair_id": "", "rows_examined": 0, "objects": [], "done": [], "left": [], "summary": []}

#: The name of an index that a cancelled REINDEX CONCURRENTLY leaves.
LEFT_OVER = re.compile(r"_cc(new|old)\d*$")

OBJECTS = """
SELECT 'invalid index' AS kind, n.nspname AS schema, r.relname AS name, i.indrelid::regclass::text AS "table"
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
 WHERE i.indrelid = ANY (%(tables)s::regclass[]) AND NOT (i.indisvalid AND i.indisready)
UNION ALL
SELECT 'constraint not validated', n.nspname, c.conname, c.conrelid::regclass::text
  FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
 WHERE c.conrelid = ANY (%(tables)s::regclass[]) AND NOT c.convalidated
 ORDER BY 1, 2, 3
"""

EXAMINED = """
SELECT (SELECT count(*) FROM pg_catalog.pg_index WHERE indrelid = ANY (%(tables)s::regclass[]))
     + (SELECT count(*) FROM pg_catalog.pg_constraint WHERE conrelid = ANY (%(tables)s::regclass[]))
"""


def unfinished(params: Mapping[str, Any], *, check_mode: bool) -> Result:
    """Find unfinished objects and finish them. See pg_unfinished_objects for options and result."""
    settings = SessionSettings(
        application_name="runbook unfinished objects",
        statement_timeout_seconds=params["long_step_limit_seconds"],
        read_only=not params["apply"] or check_mode,
    )
    with noted(params["connection"], "", "unfinished objects"), session(params["connection"], settings) as connection:
        with read_only_snapshot(connection) as cursor:
            found, examined = _find(cursor, params)
        result: Result = {**EMPTY, "rows_examined": examined, "objects": found, "left": found}
        result["summary"] = [_describe(entry) for entry in found]
        if not (params["apply"] and found):
            result["msg"] = f"unfinished_objects: {len(found)} of {examined} objects; nothing was changed"
            next_line = [f"next: {params['retry_command']} -e issue=unfinished_objects -e apply=true"] if found else []
            return {**result, "changed": False, "summary": [result["msg"], *result["summary"], *next_line]}
        if check_mode:
            return {**result, "changed": True, "msg": f"unfinished_objects: {len(found)} would be finished"}
        return _finish_all(connection, params, result)


def _describe(entry: Object) -> str:
    by = f" (removed for the backfill of run {entry['taken_out_by']})" if entry["taken_out_by"] else ""
    return f"{entry['kind']}: {entry['name']} of {entry['table']}{by}"


def _finish_all(connection: Connection, params: Mapping[str, Any], result: Result) -> Result:
    repair_id = f"repair-{new_run_id()}"
    done: list[Object] = []
    ensure(connection)
    with exclusive(connection, repair_id):
        for entry in result["objects"]:
            _finish(connection, params, entry)
            done.append(entry)
        with connection.cursor() as cursor:
            left, _ = _find(cursor, params)
            counts = {
                "rows_examined": result["rows_examined"], "rows_found": len(result["objects"]),
                "rows_changed": len(done), "rows_archived": 0, "details": {"objects": done},
            }  # fmt: skip
            journal.put(cursor, repair_id, params["plan"]["plan"], "unfinished_objects", "finish", counts)
    message = f"unfinished_objects: {len(done)} finished, {len(left)} left"
    return {
        **result, "changed": True, "repair_id": repair_id, "done": done, "left": left, "msg": message,
        "summary": [*(f"finished: {entry['kind']} {entry['name']}" for entry in done), message],
    }  # fmt: skip


def _finish(connection: Connection, params: Mapping[str, Any], entry: Object) -> None:
    """Finish an object with one statement outside a transaction: CONCURRENTLY requires that, and blocks nobody."""
    name = sql.Identifier(entry["schema"], entry["name"])
    concurrently = False
    if entry["kind"] == "invalid index":
        concurrently = True
        form = "DROP INDEX CONCURRENTLY {}" if LEFT_OVER.search(entry["name"]) else "REINDEX INDEX CONCURRENTLY {}"
        statement = sql.SQL(form).format(name)
    elif entry["taken_out_by"]:
        statement = sql.Composed([])  # put_back() builds it from the journal and deletes the journal's row
    elif entry["kind"] == "constraint not validated":
        statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
            identifier(f"{entry['schema']}.{entry['table'].rsplit('.', 1)[-1]}"), sql.Identifier(entry["name"])
        )
    else:
        statement = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(
            sql.Identifier(entry["name"]), identifier(entry["table"])
        )
    lock_wait = 5.0 if concurrently else params["lock_timeout_seconds"]
    observing = SessionSettings(application_name="runbook repair", read_only=True)
    what, writer = f"{entry['kind']} {entry['name']} of {entry['table']}", Writer(params["progress_file"])
    kind = "concurrently" if concurrently else "lock"
    with (
        session(params["connection"], observing) as observer,
        WaitReport(observer, connection, lock_wait, writer, {"step": what}, kind) as watch,
    ):
        try:
            with connection.cursor() as cursor:
                wait = "0" if concurrently else f"{round(params['lock_timeout_seconds'] * 1000)}ms"
                cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (wait,))
            with transaction(connection) if entry["taken_out_by"] else connection.cursor() as cursor:
                if entry["taken_out_by"]:
                    put_back(cursor, (entry["name"], entry["table"]))
                else:
                    cursor.execute(statement)
        except psycopg2.Error as error:
            failure = from_driver(error, f"{what} could not be finished")
            broken = isinstance(error, psycopg2.errors.IntegrityError)
            waits = isinstance(error, (psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable))
            why = f" {blockers_to_text(watch.blockers, watch.problem)}" if waits else ""
            raise RunbookError(
                f"{failure.msg}{why}",
                object_name=entry["name"],
                sqlstate=failure.sqlstate,
                left_as="resumable",
                next_command=f"{params['retry_command']} -e issue=constraint_violation"
                if broken
                else f"{params['retry_command']} -e issue=unfinished_objects -e apply=true",
            ) from error


def _find(cursor: Cursor, params: Mapping[str, Any]) -> tuple[list[Object], int]:
    tables = [entry["table"] for entry in params["plan"]["protected_tables"]]
    values = {"tables": [identifier(table).as_string(cursor) for table in tables]}
    examined = int(value(cursor, EXAMINED, values))
    cursor.execute(OBJECTS, values)
    found: list[Object] = [{**entry, "taken_out_by": ""} for entry in rows_as_dicts(cursor)]
    taken_out = still_out(cursor)
    found += [_outside(out["publication"], out["table_name"], out["run_id"]) for out in taken_out]
    known = {f"{out['publication']}: {out['table_name']}" for out in taken_out}
    expected = _membership(params["backup_directory"] or "")
    cursor.execute("SELECT pubname || ': ' || schemaname || '.' || tablename FROM pg_catalog.pg_publication_tables")
    present = {name for (name,) in cursor.fetchall()}
    for entry in expected:
        publication, table = entry.split(": ", 1)
        if entry not in present | known and table in tables:
            found.append(_outside(publication, table))
    return found, examined + len(known.union(expected))


def _outside(publication: str, table: str, run_id: str = "") -> Object:
    """Describe a table outside its publication, known from the journal (with a run) or from the backup."""
    schema = table.split(".", 1)[0]
    kind = "table outside publication"
    return {"kind": kind, "schema": schema, "name": publication, "table": table, "taken_out_by": run_id}


def _membership(directory: str) -> list[str]:
    """Return the publication memberships that the run's backup recorded; none without a backup."""
    path = os.path.join(directory, "manifest.json")
    if not directory or not os.path.isfile(path):
        return []
    manifest = read_json(path, "the backup's manifest")
    if "publication_membership" in manifest:
        return list(manifest["publication_membership"])
    # Backups of older releases list it under not_carried.
    listed = (entry for entry in manifest.get("not_carried", []) if entry["what"] == "publication membership")
    return [name for entry in listed for name in entry["objects"]]
