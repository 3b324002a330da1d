"""Does this backup belong here: to this server, this run and its plan, and can the tools at hand read all of it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Connection, Cursor, server_version
from ..errors import RunbookError
from ..journal.runs import find_run
from .archive import Archive, contents
from .manifest import MANIFEST_FILE, Manifest, archive_of, sha256_of
from .reuse import require_same_database

_TOOL = re.compile(r"\(PostgreSQL\) (\d+)")
_OWN_BACKUP = "bring the backup of the run back into {directory}, or name the right run: -e run_id=<run id>"


def require_belonging(
    connection: Connection,
    directory: str,
    manifest: Manifest,
    run: Mapping[str, Any] | None,
    tables: Sequence[str],
    tools_directory: str | None = None,
) -> Archive:
    """Refuse a backup that is whole and still must not be restored here. Nothing is written.

    :param run: ``id`` and (where known) ``plan_hash`` of the run that is rolled back; None asks no journal.
    :param tables: whose rows it must hold.
    :returns: the archive with the tool that reads it.
    :raises RunbookError: of another server or database, version of the tools, run, plan or time, or without rows.
    """
    require_same_database(connection, manifest, directory)
    require_same_major(manifest, server_version(connection), directory)
    if run:
        with connection.cursor() as cursor:
            _require_run(cursor, directory, manifest, run)
    archive = archive_of(directory, manifest, tools_directory)
    require_rows(archive, manifest, tables)
    return archive


def require_same_major(manifest: Manifest, major: int, directory: str) -> None:
    """Refuse a dump made by tools, or of a server, of another major version.

    :raises RunbookError: naming both versions.
    """
    found = _TOOL.search(str(manifest["tool"]))
    dumped_by = int(found[1]) if found else None
    for what, version in (("dumped by", dumped_by), ("dumped from PostgreSQL", manifest["server"]["major"])):
        if version != major:
            recorded = manifest["tool"] if what == "dumped by" else version
            raise RunbookError(
                f"the backup {directory} was {what} {recorded}, the server is PostgreSQL {major}: tools and server of "
                "one major version read and write a dump.",
                object_name=directory,
                next_command="take a new backup with the server's own version: ansible-playbook playbooks/backup.yml",
            )


def require_rows(archive: Archive, manifest: Manifest, tables: Sequence[str]) -> None:
    """Refuse an archive whose table of contents lacks the rows of a table.

    :raises RunbookError: naming each such table.
    """
    lacking = [name for name in tables if name not in manifest["tables"]]
    listed = contents(archive)
    lacking += [name for name in tables if name not in lacking and not _lists(listed, manifest, name)]
    if lacking:
        raise RunbookError(
            f"the backup {os.path.dirname(archive.path)} holds no rows of {', '.join(lacking)}: a dump of the schema "
            "alone, or without these tables.",
            object_name=lacking[0],
            next_command="restore another backup, or take one with rows: ansible-playbook playbooks/backup.yml",
        )


def _lists(listed: Sequence[str], manifest: Manifest, table: str) -> bool:
    """Whether the table of contents has the entry that the manifest names, and it is this table's."""
    begin, name = f"{manifest['tables'][table]['entry']}; ", f" TABLE DATA {table.replace('.', ' ', 1)} "
    return any(line.startswith(begin) and name in line for line in listed)


def _require_run(cursor: Cursor, directory: str, manifest: Manifest, run: Mapping[str, Any]) -> None:
    """Refuse the backup of another run, plan or time, and one that the run's journal does not know."""
    row = find_run(cursor, run["id"])
    taken_for = manifest.get("run") or {}
    refused = ""
    if row is None:
        refused = f"run {run['id']} is unknown to this database's journal: no backup belongs to it"
    elif taken_for and taken_for["id"] != run["id"]:
        refused = f"the backup {directory} was taken for run {taken_for['id']}, not for run {run['id']}"
    elif taken_for and taken_for["plan_hash"] not in (None, row["plan_hash"]):
        refused = (
            f"the backup {directory} was taken for the plan with hash {taken_for['plan_hash'][:12]}, "
            f"run {run['id']} has the plan with hash {row['plan_hash'][:12]}"
        )
    elif datetime.datetime.fromisoformat(manifest["taken_at"]) < row["started_at"]:
        refused = (
            f"the backup {directory} is of {manifest['taken_at']}, run {run['id']} began later, at "
            f"{row['started_at'].isoformat()}: what was written in between would be lost"
        )
    elif _known(cursor, run["id"]) != sha256_of(os.path.join(directory, MANIFEST_FILE)):
        refused = (
            f"the backup {directory} is not the one that the journal knows of run {run['id']}: "
            "its manifest has another SHA-256"
        )
    if refused:
        raise RunbookError(f"{refused}.", object_name=directory, next_command=_OWN_BACKUP.format(directory=directory))


def _known(cursor: Cursor, run_id: str) -> str | None:
    cursor.execute(
        "SELECT details ->> 'manifest_sha256' FROM migration_runbook.event WHERE run_id = %s"
        " AND phase = 'backup_verified' AND status = 'ok' ORDER BY id DESC LIMIT 1",
        (run_id,),
    )
    row = cursor.fetchone()
    return row[0] if row else None
