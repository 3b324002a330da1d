"""Take a backup: data snapshot and dump of one instant, read back and described by a manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..database.connection import Connection, Cursor, SessionSettings, Stopwatch, client_environment, read_only_snapshot
from ..database.identity import identity
from ..database.options import role_arguments
from ..database.queries import value
from ..database.readers import SESSIONS, for_reading, parallel_readers
from ..database.values import client_encoding
from ..errors import RunbookError
from ..evidence import snapshot as snapshots
from ..journal.schema import SCHEMA as JOURNAL
from ..private_files import complete_directory, make_private, set_aside
from . import manifest as manifests
from .archive import ARCHIVE_NAME, Archive, count_rows, size_on_disk, table_entries
from .dump import DumpOptions, best_compression, dump_command
from .dumped_tables import DumpedTable, bytes_of, grantees, outside_keys, row_count, unvalidated_keys, what_to_dump
from .needs import needs_of
from .not_carried import not_carried, publication_membership
from .tools import find_tool, start_tool, tool_version


def check_backup(
    archive: Archive,
    tables: Sequence[DumpedTable],
    rows: Mapping[str, int],
    minimum_bytes: int,
    workers: int,
) -> dict[str, int]:
    """Compare an archive with the rows of the database in the same snapshot.

    :param rows: rows by table, counted in the same snapshot.
    :param minimum_bytes: minimum size of the archive on disk.
    :returns: table → id of its entry in the archive.
    :raises RunbookError: the archive is too small, cannot be read, or lacks a table or some of its rows.
    """
    size = size_on_disk(archive.path)
    if size < minimum_bytes:
        raise RunbookError(
            f"the backup has {size} bytes, less than minimum_bytes ({minimum_bytes}). Is this the right database?",
            object_name=archive.path,
            next_command="check database_connection; for a small database, lower minimum_bytes",
        )
    listed = table_entries(archive)
    missing = [table.name for table in tables if table.object_id not in listed]
    if missing:
        raise RunbookError(
            f"the backup {archive.path} has no TABLE DATA entry for {', '.join(missing)}.",
            object_name=missing[0],
            next_command="run the same command again; if it fails again, look for ALTER TABLE or DROP TABLE during the "
            "backup",
        )
    entries = {table.name: listed[table.object_id] for table in tables}
    # The largest tables first, so that the jobs end at about the same time.
    found = count_rows(archive, {name: entries[name] for name in sorted(entries, key=lambda n: -rows[n])}, workers)
    wrong = [name for name in entries if found[name] != rows[name]]
    if wrong:
        raise RunbookError(
            "the backup does not contain the rows of the database: "
            + "; ".join(f"{name} has {found[name]}, the database {rows[name]}" for name in wrong)
            + ".",
            object_name=wrong[0],
            next_command="run the same command again; if it fails again, look for TRUNCATE or ALTER TABLE during the "
            "backup",
        )
    return entries


Params = Mapping[str, Any]


def session_settings(params: Params) -> SessionSettings:
    """Return the settings of the backup's session."""
    return SessionSettings(
        application_name=params["application_name"],
        lock_timeout_seconds=params["lock_wait_timeout_seconds"],
        # pg_dump's workers need the transaction until the dump is complete.
        idle_in_transaction_timeout_seconds=0,
        # Fail instead of omitting rows that row-level security hides.
        settings={"row_security": "off"},
    )


def take_backup(connection: Connection, params: Params) -> dict[str, Any]:
    """Take a backup and verify it; with ``params["snapshot"]`` also a data snapshot of the same instant.

    :param params: the options of pg_backup.
    :returns: ``manifest`` and ``snapshot`` (None if not requested).
    :raises RunbookError: the backup failed. Its directory does not exist; a dump that did not pass its verification is
        kept under the name in the message.
    """
    options = DumpOptions(params["compression"] or "", params["jobs"], params["lock_wait_timeout_seconds"])
    watch = Stopwatch()
    with contextlib.ExitStack() as stack:
        # The contexts exit in reverse order: the backup is renamed last, so if it exists, the snapshot exists too.
        directory = stack.enter_context(complete_directory(params["directory"]))
        snapshot_directory = stack.enter_context(_snapshot_directory(params["snapshot"]))
        with read_only_snapshot(connection) as cursor:
            facts, tables, snapshot = _dump(cursor, params, options, directory, snapshot_directory, watch)
        make_private(directory)
        tool = find_tool("pg_restore", facts["server"]["major"], params["tools_directory"])
        archive = Archive(os.path.join(directory, ARCHIVE_NAME), tool)
        entries, files = _checked(archive, tables, facts["rows"], params)
        details = {
            table.name: {"entry": entries[table.name], "columns": table.columns, "rows": facts["rows"][table.name]}
            for table in tables
        }
        manifest = manifests.write(
            directory, archive.path, files, {**facts, "tables": details, "seconds": watch.seconds()}
        )
    return {"manifest": manifest, "snapshot": snapshot}


def _dump(
    cursor: Cursor,
    params: Params,
    options: DumpOptions,
    directory: str,
    snapshot_directory: str | None,
    watch: Stopwatch,
) -> tuple[dict[str, Any], list[DumpedTable], dict[str, Any] | None]:
    """Run pg_dump with the transaction's exported snapshot, and take the data snapshot in the same transaction."""
    server = identity(cursor)
    pg_dump = find_tool("pg_dump", server["major"], params["tools_directory"])
    if not options.compression:
        best = best_compression(pg_dump, server["major"])
        options = dataclasses.replace(options, compression=best)
    schemas, tables = what_to_dump(cursor, params)
    snapshot_id = str(value(cursor, "SELECT pg_catalog.pg_export_snapshot()"))
    whole = params["scope"] == "database"
    encoding = client_encoding(cursor.connection)
    wanted_schemas = None if whole else schemas
    command = dump_command(pg_dump, server["major"], options, wanted_schemas, snapshot_id, directory, encoding)
    command += role_arguments(params["connection"])
    environment = client_environment(params["connection"], f"{params['application_name']} pg_dump")
    snapshot = snapshot_identity = None
    with (
        start_tool(command, environment) as tool,
        parallel_readers(
            cursor, params["connection"], for_reading(session_settings(params)), SESSIONS - 1
        ) as side_by_side,
    ):
        names = [table.name for table in tables]
        rows = dict(zip(names, side_by_side.map(row_count, names), strict=True))
        if snapshot_directory:
            wanted = params["snapshot"]
            snapshot = snapshots.take(
                side_by_side, snapshot_directory, wanted["counts"], wanted["samples"], wanted["fingerprints"]
            )
            snapshot_identity = snapshots.identity_of(snapshot_directory, wanted["directory"])
        # These queries run while pg_dump works.
        facts = {
            "server": server,
            "database": server["database"],
            "lsn": server["lsn"],
            "taken_at": server["time"],
            "compression": options.compression,
            "tool": tool_version(pg_dump),
            "snapshot_id": snapshot_id,
            "snapshot": snapshot_identity,
            "scope": params["scope"],
            "schemas": schemas,
            "history_table": params["history_table"],
            # Only this run may be rolled back with it.
            "run": {key: params["run"][key] for key in ("id", "plan_hash")} if params["run"] else None,
            "tables_bytes": bytes_of(cursor, names),
            "rows": rows,
            "unvalidated_keys": unvalidated_keys(cursor, names),
            "outside_keys": outside_keys(cursor, names),
            "grantees": grantees(cursor, schemas),
            "needs": [] if whole else needs_of(cursor, schemas, [JOURNAL]),
            "not_carried": not_carried(cursor, schemas, params["scope"]),
            "publication_membership": publication_membership(cursor, schemas),
            "minimum_bytes": params["minimum_bytes"],
        }
        left_seconds = max(params["dump_timeout_seconds"] - watch.seconds(), 1)
        tool.finish(f"pg_dump of {', '.join(schemas)}", left_seconds)
    return {**facts, "dump_seconds": watch.seconds()}, tables, snapshot


def _checked(
    archive: Archive, tables: Sequence[DumpedTable], rows: Mapping[str, int], params: Params
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Verify the archive, and rename its directory if that fails.

    :returns: the result of ``check_backup``, and the archive's files for the manifest.
    """
    directory = os.path.dirname(archive.path)
    try:
        # Hashing releases the GIL, so it runs while the other threads wait for pg_restore.
        with ThreadPoolExecutor(max_workers=1) as pool:
            files = pool.submit(manifests.described_files, directory, archive.path)
            entries = check_backup(archive, tables, rows, params["minimum_bytes"], params["jobs"])
        return entries, files.result()
    except RunbookError as error:
        kept = set_aside(directory, f"{params['directory']}.rejected")
        raise RunbookError(
            f"{error.msg} The backup is rejected and kept in {kept} for inspection.",
            object_name=error.object_name,
            next_command=error.next_command,
        ) from error


@contextlib.contextmanager
def _snapshot_directory(wanted: Params | None) -> Iterator[str | None]:
    """Create the directory of the data snapshot; yield None if no snapshot is requested."""
    if not wanted:
        yield None
        return
    if os.path.lexists(wanted["directory"]):
        # Its backup failed, so it is of no use; rename it instead of deleting it.
        set_aside(wanted["directory"], f"{wanted['directory']}.superseded")
    with complete_directory(wanted["directory"]) as directory:
        yield directory
