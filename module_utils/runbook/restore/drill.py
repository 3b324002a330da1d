"""Drill a restore: restore a backup into a scratch database, compare it with its snapshot, and drop the database."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Mapping
from typing import Any

from ..backup import manifest as manifests
from ..backup.belonging import require_belonging, require_rows, require_same_major
from ..backup.dumped_tables import scope_of
from ..backup.reuse import load_snapshot
from ..database.connection import Connection, SessionSettings, Stopwatch, server_version, session, transaction
from ..database.identity import identity
from ..database.options import require_protection
from ..errors import RunbookError
from ..journal.guard import DRILLED
from ..journal.runs import record
from ..journal.unconfirmed import noted
from ..plain import to_plain
from ..private_files import replace_file
from ..progress.loading import loading_shown
from . import side_database
from .prepare import advice, make_needs, run_prerequisites
from .rules import require_disk_space
from .side_restore import compare_rows, entries_to_restore, make_stub_rows, pg_restore

Params = Mapping[str, Any]

#: The result of a drill, written beside the backup's manifest.
DRILL_FILE = "drill.json"
#: The inventory variable with the connection of another server.
SCRATCH = "database_backup_restore_drill_options.scratch_connection"
DROPPED = "the scratch database is dropped"


class Drill:
    """One drill. The constructor refuses whatever can be checked before the scratch database is created."""

    def __init__(self, live: Connection, params: Params, settings: SessionSettings) -> None:
        self.live, self.params, self.settings = live, params, settings
        self.directory = params["backup_directory"]
        self.manifest = manifests.verify(self.directory)
        self.whole = scope_of(self.manifest) == "database"
        tables = list(self.manifest["tables"])
        self.archive = require_belonging(
            live, self.directory, self.manifest, params["run"], tables, params["tools_directory"]
        )
        require_rows(self.archive, self.manifest, tables)
        recorded = self.manifest["snapshot"]
        self.snapshot_directory = params["snapshot_directory"] or (recorded or {}).get("directory", "")
        self.snapshot = load_snapshot(self.snapshot_directory, recorded["sha256"]) if recorded else None
        self.scratch_options = params["scratch_connection"] or params["connection"]
        self.at_home = True
        require_disk_space(self.manifest, params)

    def run(self) -> dict[str, Any]:
        """Run the drill, drop the scratch database in any case, and return the result of pg_restore_drill."""
        try:
            found = self._drill()
        except RunbookError as error:
            self._record("failed", {"problem": error.msg})
            raise
        details = {
            "manifest_sha256": manifests.sha256_of(os.path.join(self.directory, manifests.MANIFEST_FILE)),
            "drilled_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **{key: found[key] for key in ("restore_seconds", "seconds", "rows_compared", "rows", "scratch_server")},
        }
        replace_file(
            os.path.join(self.directory, DRILL_FILE), json.dumps(to_plain({**details, **found}), indent=2) + "\n"
        )
        self._record("ok", details)
        return found

    def _drill(self) -> dict[str, Any]:
        watch = Stopwatch()
        with (
            noted(self.params["connection"], "", "the restore drill"),
            session(self.scratch_options, self.settings) as admin,
        ):
            if self.params["scratch_connection"]:
                require_protection(admin, self.scratch_options, self.params["tls"], SCRATCH)
            require_same_major(self.manifest, server_version(admin), self.directory)
            cleared = side_database.clear_abandoned(admin)
            live_names = {self.params["connection"]["dbname"], self.manifest["database"], admin.info.dbname}
            name = side_database.scratch_name(admin, live_names)
            like = None if self.params["scratch_connection"] else self.live.info.dbname
            self.at_home = _system_identifier(admin) == self.manifest["server"]["system_identifier"]
            # The backup's own server has these roles, and a role created there would also be one of the live database.
            wanted = [] if self.at_home else self.manifest.get("grantees", [])
            encoding = self.live.info.parameter_status("server_encoding") or "UTF8"
            made = side_database.scratch_database(admin, name, like, encoding)
            with side_database.temporary_roles(admin, wanted), made:
                options = {**self.scratch_options, "dbname": name}
                with session(options, self.settings) as scratch:
                    found = self._restore(scratch, options)
                    comparing = Stopwatch()
                    found |= compare_rows(scratch, self.manifest, self.snapshot, self.snapshot_directory, DROPPED)
        return {
            **found,
            "scratch_database": name,
            "scratch_server": f"{self.scratch_options['host']}:{self.scratch_options['port']}",
            "cleared_databases": cleared,
            "compare_seconds": comparing.seconds(),
            "seconds": watch.seconds(),
        }

    def _restore(self, scratch: Connection, options: Params) -> dict[str, Any]:
        prerequisites = self.params["prerequisites_file"] or ""
        made: list[str] = []
        with scratch.cursor() as cursor:
            if not self.whole:  # a dump of the whole database contains what its tables need
                if prerequisites:
                    run_prerequisites(cursor, prerequisites, may_make_roles=not self.at_home)
                made = make_needs(cursor, self.manifest.get("needs", []), prerequisites)
            entries, left_out = entries_to_restore(self.archive, cursor, self.manifest.get("grantees", []))
        watch = Stopwatch()
        how = {"application_name": self.settings.application_name, "jobs": self.params["jobs"]}
        step, rows = f"load the backup into {options['dbname']}", self.manifest["rows"]
        next_command = "" if self.whole else advice(prerequisites)
        with loading_shown(self.params["progress_file"], step, options, self.settings, rows):
            pg_restore(self.archive, options, "pre-data", entries, **how, next_command=next_command)
            pg_restore(self.archive, options, "data", entries, **how, next_command=next_command)
            stubs = make_stub_rows(scratch, self.manifest.get("outside_keys", []))
            pg_restore(self.archive, options, "post-data", entries, **how, next_command=next_command)
        return {"restore_seconds": watch.seconds(), "left_out": left_out, "keys_to_stubs": stubs, "prepared": made}

    def _record(self, status: str, details: Params) -> None:
        if self.params["run"]:
            with transaction(self.live) as cursor:
                record(cursor, self.params["run"]["id"], DRILLED, status, details)


def _system_identifier(connection: Connection) -> str:
    with connection.cursor() as cursor:
        return str(identity(cursor)["system_identifier"])


def read_only(settings: SessionSettings) -> SessionSettings:
    """Return the settings for a read-only session, for check mode."""
    return dataclasses.replace(settings, read_only=True)
