"""Check that a backup belongs to this server, run and plan, and that the tools can read all of it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Connection, Cursor, server_version
from ..database.identity import identity
from ..database.queries import value
from ..errors import RunbookError
from ..journal.runs import find_run
from .archive import Archive, contents
from .manifest import MANIFEST_FILE, Manifest, archive_of, sha256_of

_TOOL = re.compile(r"\(PostgreSQL\) (\d+)")
_OWN_BACKUP = "restore the run's backup to {directory} from your copy of it, or choose another run: -e run_id=<run id>"
_RECORDED = (
    "SELECT details ->> 'manifest_sha256' FROM migration_runbook.event WHERE run_id = %s"
    " AND phase = 'backup_verified' AND status = 'ok' ORDER BY id DESC LIMIT 1"
)


def require_belonging(
    connection: Connection,
    directory: str,
    manifest: Manifest,
    run: Mapping[str, Any] | None,
    tables: Sequence[str],
    tools_directory: str | None = None,
) -> Archive:
    """Refuse an undamaged backup that must not be restored here. Writes nothing.

    :param run: ``id`` and, if known, ``plan_hash`` of the run to roll back; None does not read the journal.
    :param tables: tables whose rows it must contain.
    :returns: the archive with the tool that reads it.
    :raises RunbookError: it belongs to another server, database, tool version, run, plan or time, or lacks rows.
    """
    require_same_database(connection, manifest, directory)
    require_same_major(manifest, server_version(connection), directory)
    if run:
        with connection.cursor() as cursor:
            _require_run(cursor, directory, manifest, run)
    archive = archive_of(directory, manifest, tools_directory)
    require_rows(archive, manifest, tables)
    return archive


def require_same_database(connection: Connection, manifest: Mapping[str, Any], directory: str) -> None:
    """Refuse a backup of another server or database.

    If a role may not read the system identifier, only the names of the databases are compared.

    :raises RunbookError: they differ.
    """
    with connection.cursor() as cursor:
        now = identity(cursor)
    then = manifest["server"]
    for key, name in (("database", "database"), ("system_identifier", "server (system identifier)")):
        if then[key] != now[key] and (key == "database" or (then[key] and now[key])):
            raise RunbookError(
                f"the backup {directory} belongs to {name} {then[key]}; this is {now[key]}.",
                object_name=directory,
                next_command="rename the directory and take a new backup, or connect to the database of the backup",
            )


def require_same_major(manifest: Manifest, major: int, directory: str) -> None:
    """Refuse a dump made by tools or from a server of another major version.

    :raises RunbookError: the versions differ.
    """
    found = _TOOL.search(str(manifest["tool"]))
    dumped_by = int(found[1]) if found else None
    for what, version in (("dumped by", dumped_by), ("dumped from PostgreSQL", manifest["server"]["major"])):
        if version != major:
            recorded = manifest["tool"] if what == "dumped by" else version
            raise RunbookError(
                f"the backup {directory} was {what} {recorded}, the server is PostgreSQL {major}: dump, tools and "
                "server must have the same major version.",
                object_name=directory,
                next_command="take a new backup with the server's own version: ansible-playbook playbooks/backup.yml",
            )


def require_rows(archive: Archive, manifest: Manifest, tables: Sequence[str]) -> None:
    """Refuse an archive whose table of contents lacks the rows of a table.

    :raises RunbookError: the message lists these tables.
    """
    lacking = [name for name in tables if name not in manifest["tables"]]
    listed = contents(archive)
    lacking += [name for name in tables if name not in lacking and not _lists(listed, manifest, name)]
    if lacking:
        raise RunbookError(
            f"the backup {os.path.dirname(archive.path)} contains no rows of {', '.join(lacking)}: it is a dump of the "
            "schema only, or without these tables.",
            object_name=lacking[0],
            next_command="restore another backup, or take one with rows: ansible-playbook playbooks/backup.yml",
        )


def _lists(listed: Sequence[str], manifest: Manifest, table: str) -> bool:
    """Return whether the entry that the manifest names exists and belongs to this table."""
    begin, name = f"{manifest['tables'][table]['entry']}; ", f" TABLE DATA {table.replace('.', ' ', 1)} "
    return any(line.startswith(begin) and name in line for line in listed)


def _require_run(cursor: Cursor, directory: str, manifest: Manifest, run: Mapping[str, Any]) -> None:
    """Refuse a backup of another run, plan or time, and one that is not recorded in the journal."""
    row = find_run(cursor, run["id"])
    taken_for = manifest.get("run") or {}
    refused = ""
    if row is None:
        refused = f"run {run['id']} is not in this database's journal, so no backup belongs to it"
    elif taken_for and taken_for["id"] != run["id"]:
        refused = f"the backup {directory} was taken for run {taken_for['id']}, not for run {run['id']}"
    elif taken_for and taken_for["plan_hash"] not in (None, row["plan_hash"]):
        refused = (
            f"the backup {directory} was taken for the plan with hash {taken_for['plan_hash'][:12]}, "
            f"run {run['id']} has the plan with hash {row['plan_hash'][:12]}"
        )
    elif datetime.datetime.fromisoformat(manifest["taken_at"]) < row["started_at"]:
        refused = (
            f"the backup {directory} was taken at {manifest['taken_at']}, before run {run['id']} started at "
            f"{row['started_at'].isoformat()}: rows written in between would be lost"
        )
    elif value(cursor, _RECORDED, (run["id"],)) != sha256_of(os.path.join(directory, MANIFEST_FILE)):
        refused = (
            f"the backup {directory} is not the one recorded for run {run['id']}: the SHA-256 of its manifest differs"
        )
    if refused:
        raise RunbookError(f"{refused}.", object_name=directory, next_command=_OWN_BACKUP.format(directory=directory))
