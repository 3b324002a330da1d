"""Restore in place: one transaction restores the schema and the rows that differ, without dropping a table."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from ..backup import manifest as manifests
from ..backup.belonging import require_belonging
from ..backup.reuse import load_snapshot
from ..database.connection import Connection, Cursor, SessionSettings, Stopwatch, open_session, session
from ..database.lock_modes import Lock
from ..errors import RunbookError, from_driver
from ..evidence import change_log as change_log
from ..evidence.compare import compare, refuse_differences
from ..journal import lease, ledger
from ..journal import steps as journal_steps
from ..journal.lease import exclusive
from ..journal.runs import exists, record, require_not_rolled_back
from ..journal.unconfirmed import noted
from ..locking.limits import Locking
from ..locking.retry import Attempt, in_locked_transaction
from ..migration.publications import put_back_where_possible
from ..progress_feed import Writer
from .revert_steps import Revert, read_reverts, run_schema_steps, run_validations, steps_to_text
from .rules import (
    owned_sequences,
    require_no_eager_triggers,
    require_replica_role,
    require_tables,
    require_whole_keys,
    set_replica_role,
    unvalidated_checks,
    validate_checks,
)
from .side_tables import SideTable, loaded, reconcile, side_tables

Params = Mapping[str, Any]


class Restore:
    """One restore. The constructor finds and checks what to restore; nothing is written yet."""

    def __init__(self, connection: Connection, params: Params, settings: SessionSettings) -> None:
        self.connection = connection
        self.params = params
        self.settings = settings
        self.manifest = manifests.verify(params["backup_directory"])
        names = [table["table"] for table in params["tables"]]
        self.archive = require_belonging(
            connection, params["backup_directory"], self.manifest, params["run"], names, params["tools_directory"]
        )
        self.tables: list[SideTable] = side_tables(self.manifest, params["tables"])
        self.names = [table.name for table in self.tables]
        self.snapshot = self._snapshot()
        with connection.cursor() as cursor:
            if params["run"]:
                require_not_rolled_back(cursor, params["run"]["id"])
            self.reverts: list[Revert] = read_reverts(
                cursor, params["revert_files"], only_applied=params["revert_only_applied"]
            )
            require_tables(cursor, self.names)
        require_replica_role(connection)

    def run(self) -> dict[str, Any]:
        """Load the backup's rows, then restore them. After a failure the database is unchanged.

        :returns: ``rows``, ``steps``, ``foreign_keys``, ``sequences_left``, the comparison and the seconds it took.
        """
        watch = Stopwatch()
        about = f"the restore of {', '.join(self.names)}"
        with (
            noted(self.params["connection"], self.params["run_id"], about),
            exclusive(self.connection, self.params["run_id"]) as held,
        ):
            # A process that takes over the lease ends sessions with this name.
            ours = dataclasses.replace(self.settings, application_name=lease.application_name(self.params["run_id"]))
            another = functools.partial(open_session, self.params["connection"], ours)
            with loaded(self.connection, another, self.archive, self.tables, self.params):
                loaded_seconds = watch.seconds()
                with session(self.params["connection"], ours) as observer:
                    result = self._in_locked_transaction(held, observer)
        return {**result, "load_seconds": loaded_seconds}

    def preview(self, cursor: Cursor) -> dict[str, Any]:
        """Return what can be found out without loading the backup's rows. Writes nothing."""
        unknown = dict.fromkeys(("deleted", "inserted", "updated", "unchanged"))
        return {
            "rows": dict.fromkeys(self.names, unknown),
            "reverted_versions": [revert.version for revert in self.reverts],
            "steps": steps_to_text(self.reverts),
            **self._differences(cursor),
        }

    def _snapshot(self) -> dict[str, Any] | None:
        recorded = self.manifest["snapshot"]
        directory = self.params["snapshot_directory"] or (recorded or {}).get("directory", "")
        if recorded is None and directory:
            raise RunbookError(
                f"the backup was taken without a data snapshot, so {directory} does not belong to it.",
                object_name=directory,
                next_command="omit snapshot_directory: row counts and keys are checked without it",
            )
        self.snapshot_directory = directory
        return load_snapshot(directory, recorded["sha256"]) if recorded else None

    def _in_locked_transaction(self, held: lease.Lease | None, observer: Connection) -> dict[str, Any]:
        """Lock all tables in the given order, then restore, and retry the transaction after a refused lock."""

        def work(cursor: Cursor, attempt: Attempt) -> tuple[dict[str, Any], Attempt]:
            self.unvalidated = unvalidated_checks(cursor, self.names)
            steps = run_schema_steps(cursor, self.reverts)
            # The rest takes long, but waits for no lock.
            attempt.watch.stop()
            attempt.watch.clear()
            return self._restore(cursor, steps), attempt

        result, attempt = in_locked_transaction(
            self.connection,
            observer,
            Locking.from_option(self.params["locking"]),
            work,
            self._failure,
            writer=Writer(self.params["progress_file"]),
            place={"step": "lock the tables"},
            locks=[Lock(name, "ACCESS EXCLUSIVE") for name in self.names],
            begin=held.check if held else None,
        )
        return {**result, "lock_attempts": attempt.number, "locked_seconds": attempt.stopwatch.seconds()}

    def _failure(self, error: psycopg2.Error, why: str) -> RunbookError:
        if self.connection.closed != 0:
            return from_driver(
                error,
                "the connection was lost during the restore, which either committed as a whole or changed nothing",
                left_as="resumable",
                next_command="run the same command again: it changes only rows that differ",
            )
        return from_driver(
            error,
            "the restore was rolled back",
            why=why,
            object_name=", ".join(self.names) if why else "",
            next_command="stop the application or end those sessions, then run the same command again" if why else "",
        )

    def _restore(self, cursor: Cursor, steps: list[str]) -> dict[str, Any]:
        """Restore the rows and verify them, with everything that must commit in the same transaction."""
        require_no_eager_triggers(cursor, self.names)
        set_replica_role(cursor, "replica")
        rows = {table.name: reconcile(cursor, table) for table in self.tables}
        set_replica_role(cursor, "origin")
        versions = [revert.version for revert in self.reverts]
        if versions:
            self._remove_from_history(cursor, versions)
        keys = require_whole_keys(cursor, self.names, self.manifest)
        steps += run_validations(cursor, self.reverts)
        steps += validate_checks(cursor, self.names, self.unvalidated)
        found = self._differences(cursor)
        refuse_differences(found, "the restore was rolled back: the rows do not match the snapshot")
        # The restore wrote these tables without the change log, and their columns may have changed.
        steps += change_log.remove(cursor, self.names)
        steps += put_back_where_possible(cursor)
        result = {
            "rows": rows,
            "reverted_versions": versions,
            "steps": steps,
            "foreign_keys": keys,
            "sequences_left": owned_sequences(cursor, self.names),
            **found,
        }
        if self.params["run"]:
            details = {"backup": self.params["backup_directory"], "at": time.time(), "reverted_versions": versions}
            record(cursor, self.params["run"]["id"], "restored", details={**details, "rows": rows}, complete_too=True)
        return result

    def _remove_from_history(self, cursor: Cursor, versions: Sequence[str]) -> None:
        """Delete the reverted versions from the migration history, and supersede their steps in the journal."""
        for version in set(versions).intersection(ledger.read(cursor)):
            ledger.delete(cursor, version)
        if exists(cursor):
            journal_steps.supersede(cursor, versions)

    def _differences(self, cursor: Cursor) -> dict[str, Any]:
        if self.snapshot is None:
            return {"counts": [], "samples": [], "fingerprints": [], "differences": []}
        return compare(cursor, self.snapshot, self.snapshot_directory, "restore", tables=self.names)
