"""Restore by swap in two phases: prepare while the application runs, then switch. Both can be rerun after a kill."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg2 import sql

from ..backup import manifest as manifests
from ..backup.belonging import require_belonging
from ..backup.reuse import load_snapshot
from ..backup.tools import find_tool
from ..database.connection import Connection, SessionSettings, Stopwatch, read_only_snapshot, server_version, session
from ..database.queries import value
from ..errors import RunbookError
from ..journal.lease import exclusive
from ..journal.runs import find_run
from ..journal.unconfirmed import noted
from . import side_database, swap_checks, swap_database
from .journal_copy import copy_journal
from .schema_text import require_same_schema
from .swap_names import State, names_for, state_of
from .swap_switch import swap_in_progress, switch

Params = Mapping[str, Any]

#: First key of the advisory lock that keeps two swaps of a database apart; the second is the hash of its name.
LOCK_CLASS = 0x52554E42


class Swap:
    """The swap of one run."""

    def __init__(self, params: Params, settings: SessionSettings) -> None:
        self.params, self.settings = params, settings
        self.directory = params["backup_directory"]
        self.manifest = manifests.read(self.directory)
        self.sha256 = manifests.sha256_of(os.path.join(self.directory, manifests.MANIFEST_FILE))
        self.names = names_for(params["connection"]["dbname"], params["run"]["id"])
        self.maintenance = {**params["connection"], "dbname": params["maintenance_database"]}
        self.side = {**params["connection"], "dbname": self.names.side}
        self.live = params["connection"]

    def facts(self, state: State) -> dict[str, Any]:
        """Return the names of the databases and the state of the swap."""
        return {
            "state": state,
            "live_database": self.names.live,
            "side_database": self.names.side,
            "kept_database": self.names.kept,
            "drop_command": self.names.drop_command,
            # Every table of a verified database has the rows of the manifest.
            "rows": self.manifest["rows"] if state in ("prepared", "switched") else {},
        }

    def preview(self) -> dict[str, Any]:
        """Return the state, and refuse a swap that is not possible, without writing anything."""
        self._require_backup()
        with session(self.maintenance, self.settings) as admin:
            state = self._state(admin)
        if state != "switched":
            with session(self.live, self.settings) as live:
                self._require_live(live)
        return self.facts(state)

    def prepare(self) -> dict[str, Any]:
        """Load and verify the backup in a new database, unless that is done.

        :raises RunbookError: the swap is not possible, or the load or its verification failed. The new database is
            dropped.
        """
        self._require_backup()
        with self._exclusive() as admin:
            state = self._state(admin)
            if state == "switched":
                return self.facts(state)
            with session(self.live, self.settings) as live:
                archive = self._require_live(live)
                if state == "prepared":
                    return self.facts(state)
                with exclusive(live, self.params["run"]["id"]), self._dropped_unless_verified(admin) as verified:
                    found = self._load(admin, live, archive)
                    verified.set()
        return {**self.facts("prepared"), **found}

    def switch(self) -> dict[str, Any]:
        """Replace the live database with the verified one, unless that is done.

        :raises RunbookError: no database is prepared, or it could not be renamed. The live database is unchanged.
        """
        watch = Stopwatch()
        with self._exclusive() as admin:
            state = self._state(admin)
            if state == "switched":
                return self.facts(state)
            if state != "prepared":
                raise RunbookError(
                    f"no verified database is ready to replace {self.names.live}: {self.names.side} is "
                    f"{state.replace('_', ' ')}.",
                    object_name=self.names.side,
                    next_command="run the same command with phase: prepare",
                )
            details = {"mode": "swap", "backup": self.directory, "kept_database": self.names.kept}
            with (
                session(self.live, self.settings) as live,
                session(self.side, self.settings) as restored,
                exclusive(live, self.params["run"]["id"]),
            ):
                copied = copy_journal(live, restored, self.params["run"]["id"], details)
            found = switch(admin, self.maintenance, self.names, self.params)
        return {**self.facts("switched"), **found, "journal_rows": copied, "switch_seconds": watch.seconds()}

    def _require_backup(self) -> None:
        swap_checks.require_none(swap_checks.of_backup(self.manifest, self.directory), self.names.live)

    def _require_live(self, live: Connection) -> Any:
        """Return the archive, or refuse a swap that is not possible and not complete."""
        with read_only_snapshot(live) as cursor:
            run = find_run(cursor, self.params["run"]["id"])
            if run and run["state"] == "rolled_back":
                raise RunbookError(
                    f"run {run['run_id']} is already rolled back.",
                    object_name=run["run_id"],
                    next_command="ansible-playbook playbooks/status.yml",
                )
            swap_checks.require_none(swap_checks.of_database(cursor, self.params), self.names.live)
        verified = manifests.verify(self.directory)
        return require_belonging(
            live, self.directory, verified, self.params["run"], list(verified["rows"]), self.params["tools_directory"]
        )

    @contextmanager
    def _dropped_unless_verified(self, admin: Connection) -> Iterator[threading.Event]:
        """Drop the side database of an earlier command, and that of the block unless the block sets the event."""
        verified = threading.Event()
        with admin.cursor() as cursor:
            side_database.drop(cursor, self.names.side)
            try:
                yield verified
            finally:
                if not verified.is_set() and admin.closed == 0:
                    side_database.drop(cursor, self.names.side)

    def _load(self, admin: Connection, live: Connection, archive: Any) -> dict[str, Any]:
        swap_database.create(admin, self.names)
        given = swap_database.rehearse(admin, self.names)
        seconds, entries, left_out = swap_database.fill(
            archive,
            self.side,
            self.settings,
            self.params["jobs"],
            self.manifest["rows"],
            self.params["progress_file"],
        )
        watch = Stopwatch()
        recorded = self.manifest["snapshot"]
        directory = self.params["snapshot_directory"] or (recorded or {}).get("directory", "")
        snapshot = {
            "directory": directory,
            "content": load_snapshot(directory, recorded["sha256"]) if recorded else None,
        }
        found = swap_database.verify(self.side, self.settings, self.manifest, snapshot)
        pg_dump = find_tool("pg_dump", server_version(live), self.params["tools_directory"])
        lines = require_same_schema(archive, entries, self.side, pg_dump, self.settings.application_name)
        with admin.cursor() as cursor:
            cursor.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                    sql.Identifier(self.names.side), sql.Literal(self.names.verified(self.sha256))
                )
            )
        return {
            **found,
            **seconds,
            "left_out": left_out,
            "given": given,
            "schema_lines": lines,
            "verify_seconds": watch.seconds(),
        }

    def _state(self, admin: Connection) -> State:
        with admin.cursor() as cursor:
            return state_of(self.names, swap_database.existing(cursor, self.names), self.sha256)

    @contextmanager
    def _exclusive(self) -> Iterator[Connection]:
        """Open a session in the maintenance database, with the lock that only one swap of the database can hold."""
        about = f"the restore of {self.names.live} by swap"
        with noted(self.live, self.params["run"]["id"], about), session(self.maintenance, self.settings) as admin:
            with admin.cursor() as cursor:
                locked = "SELECT pg_catalog.pg_try_advisory_lock(%s, pg_catalog.hashtext(%s))"
                if not value(cursor, locked, (LOCK_CLASS, self.names.live)):
                    raise swap_in_progress(cursor, LOCK_CLASS, self.names.live)
            yield admin
