"""Reuse an existing backup, and record a backup in the journal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..database.connection import Connection, transaction
from ..database.queries import value
from ..errors import RunbookError
from ..evidence import snapshot as snapshots
from ..journal.runs import find_run, record
from . import manifest as manifests
from .belonging import require_same_database


def reuse_backup(connection: Connection, params: Mapping[str, Any]) -> dict[str, Any]:
    """Verify the backup in ``params["directory"]`` and the data snapshot that belongs to it.

    :returns: ``manifest`` and ``snapshot`` (None if the backup was taken without one).
    :raises RunbookError: the backup is damaged or incomplete, or belongs to another database.
    """
    directory = params["directory"]
    manifest = manifests.verify(directory)
    require_same_database(connection, manifest, directory)
    snapshot = None
    if manifest["snapshot"]:
        # The option first: the run's directory may have been moved.
        snapshot_directory = (params["snapshot"] or manifest["snapshot"])["directory"]
        snapshot = load_snapshot(snapshot_directory, manifest["snapshot"]["sha256"])
    elif params["snapshot"]:
        raise RunbookError(
            f"the backup {directory} was taken without a data snapshot, which can no longer be taken for that instant.",
            object_name=directory,
            next_command="rename the directory and take a new backup",
        )
    return {"manifest": manifest, "snapshot": snapshot}


def load_snapshot(directory: str, sha256: str) -> dict[str, Any]:
    """Read the data snapshot that belongs to a backup.

    :param sha256: SHA-256 of snapshot.json in the backup's manifest.
    :raises RunbookError: it is missing or damaged, or belongs to another backup.
    """
    snapshot = snapshots.load(directory)
    if snapshots.identity_of(directory, directory)["sha256"] != sha256:
        raise RunbookError(
            f"the data snapshot in {directory} was not taken with the backup: its SHA-256 differs.",
            object_name=directory,
            next_command="restore the directory from your copy of it",
        )
    return snapshot


def require_open_run(connection: Connection, run_id: str, directory: str) -> None:
    """Refuse before a long dump what the journal would refuse after it.

    :raises RunbookError: the run is not open, or already has another backup than the one in ``directory``: a new one
        would contain the run's changes.
    """
    with connection.cursor() as cursor:
        row = find_run(cursor, run_id)
        if row is None or row["state"] != "open":
            raise RunbookError(
                f"run {run_id} is not open in this database's journal, so a backup cannot be recorded for it.",
                object_name=run_id,
                next_command="open a run with pg_journal, or omit the option run",
            )
        recorded = value(
            cursor,
            "SELECT details FROM migration_runbook.event WHERE run_id = %s AND phase = 'backup_verified'"
            " AND status = 'ok' ORDER BY id DESC LIMIT 1",
            (run_id,),
        )
    if recorded and _manifest_sha256(directory) != recorded.get("manifest_sha256"):
        raise RunbookError(
            f"run {run_id} already has a backup, taken at {recorded.get('taken_at')} in {recorded.get('directory')}, "
            f"and {directory} is not that backup. A new backup is refused: it would contain the run's changes.",
            object_name=directory,
            next_command="restore the run's backup from your copy of it",
        )


def journal_backup(connection: Connection, run_id: str, directory: str, manifest: Mapping[str, Any]) -> bool:
    """Record the events that the guard of a migration requires, and return whether one was new."""
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
