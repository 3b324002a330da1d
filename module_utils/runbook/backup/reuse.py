"""A backup that is there already, and what the journal holds of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..database.connection import Connection, transaction
from ..database.identity import identity
from ..errors import RunbookError
from ..evidence import snapshot as snapshots
from ..journal.runs import find_run, record
from . import manifest as manifests

_TAKE_ANOTHER = "rename the directory and take a new backup, or name the database the backup is of"


def reuse_backup(connection: Connection, params: Mapping[str, Any]) -> dict[str, Any]:
    """Verify the backup at ``directory`` and the data snapshot that belongs to it.

    :returns: ``manifest`` and ``snapshot`` (None where the backup was taken without one).
    :raises RunbookError: damaged or incomplete, or of another database.
    """
    directory = params["directory"]
    manifest = manifests.verify(directory)
    require_same_database(connection, manifest, directory)
    snapshot = None
    if manifest["snapshot"]:
        # Where the option says, else where it was made: a run's directory may have moved since.
        where = (params["snapshot"] or manifest["snapshot"])["directory"]
        snapshot = load_snapshot(where, manifest["snapshot"]["sha256"])
    elif params["snapshot"]:
        raise RunbookError(
            f"the backup {directory} was taken without a data snapshot: none of that instant can be had any more.",
            object_name=directory,
            next_command="rename the directory and take a new backup",
        )
    return {"manifest": manifest, "snapshot": snapshot}


def load_snapshot(directory: str, sha256: str) -> dict[str, Any]:
    """Read the data snapshot that belongs to a backup.

    :param sha256: of its snapshot.json, as the backup's manifest has it.

    :raises RunbookError: missing, damaged, or another one.
    """
    snapshot = snapshots.load(directory)
    if snapshots.identity_of(directory, directory)["sha256"] != sha256:
        raise RunbookError(
            f"the data snapshot in {directory} is not the one that was taken with the backup: its SHA-256 is another.",
            object_name=directory,
            next_command="bring the directory back from where it was copied to",
        )
    return snapshot


def require_same_database(connection: Connection, manifest: Mapping[str, Any], directory: str) -> None:
    """Refuse a backup that was taken of another server or database.

    :raises RunbookError: naming both. Where either system identifier was not readable, only names are compared.
    """
    with connection.cursor() as cursor:
        now = identity(cursor)
    then = manifest["server"]
    for key, name in (("database", "database"), ("system_identifier", "server (system identifier)")):
        if then[key] != now[key] and (key == "database" or (then[key] and now[key])):
            raise RunbookError(
                f"the backup {directory} is of {name} {then[key]}, this is {now[key]}.",
                object_name=directory,
                next_command=_TAKE_ANOTHER,
            )


def require_open_run(connection: Connection, run_id: str, directory: str) -> None:
    """Refuse before a long dump what the journal would refuse after it.

    :raises RunbookError: the run is not open, or it has a backup already and that is not the one in ``directory``:
        another would show the database after its first change.
    """
    with connection.cursor() as cursor:
        row = find_run(cursor, run_id)
        if row is None or row["state"] != "open":
            raise RunbookError(
                f"run {run_id} is not open in this database's journal: a backup for it would not count.",
                object_name=run_id,
                next_command="open a run with pg_journal, or leave out the option run",
            )
        cursor.execute(
            "SELECT details FROM migration_runbook.event WHERE run_id = %s AND phase = 'backup_verified'"
            " AND status = 'ok' ORDER BY id DESC LIMIT 1",
            (run_id,),
        )
        known = cursor.fetchone()
    if known and _manifest_sha256(directory) != known[0].get("manifest_sha256"):
        raise RunbookError(
            f"run {run_id} has a backup, taken at {known[0].get('taken_at')} in {known[0].get('directory')}, "
            f"and that is not the one in {directory}. No other is taken: it would show the database after the "
            "run's first change.",
            object_name=directory,
            next_command="bring the run's backup back from where it was copied to",
        )


def journal_backup(connection: Connection, run_id: str, directory: str, manifest: Mapping[str, Any]) -> bool:
    """Write the events that the guard of a migration asks for. Returns whether one was new."""
    backup = {
        "directory": os.path.abspath(directory),
        "manifest_sha256": _manifest_sha256(directory),
        "taken_at": manifest["taken_at"],
        "total_bytes": manifest["total_bytes"],
        "rows": manifest["rows"],
    }
    with transaction(connection) as cursor:
        noted = record(cursor, run_id, "backup_verified", "ok", backup)
        if manifest["snapshot"]:
            noted |= record(cursor, run_id, "snapshot_taken", "ok", manifest["snapshot"])
    return noted


def _manifest_sha256(directory: str) -> str | None:
    path = os.path.join(directory, manifests.MANIFEST_FILE)
    return manifests.sha256_of(path) if os.path.isfile(path) else None
