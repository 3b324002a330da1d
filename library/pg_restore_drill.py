#!/usr/bin/python
"""Prove that a backup can be restored."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore_drill
short_description: Restore a backup into a scratch database, compare it with its data snapshot, and drop it
description:
  - A database with a generated name is made and prepared with O(prerequisites_file). C(pg_restore) of the server's
    major version brings back schema and rows; then the rows are counted and the fingerprints compared with the data
    snapshot that was taken with the backup. The time it took is the time to expect of a restore.
  - The scratch database is dropped afterwards, also after a failure. One that a killed drill left behind is dropped
    by the next one; it is recognised by name, owner, mark, and that nobody is connected.
  - Rows of tables outside the backup that its foreign keys point at are made as stubs; RV(keys_to_stubs) names them.
  - Left out are the change log's triggers and the journal, whose functions are in no backup, and default privileges of
    roles that this one cannot act for. RV(left_out) names them.
  - A passed drill leaves C(drill.json) beside the backup's manifest and, with O(run), the journal's event
    C(backup_drilled), which M(pg_migration) can ask for.
  - The live database is not changed.
options:
  prerequisites_file:
    description: SQL that makes what the schemas lean on. Roles, stubs of outside tables and functions, extensions.
    type: path
extends_documentation_fragment:
  - runbook_connection
  - runbook_connection.scratch
  - runbook_disk
  - runbook_progress_file
  - runbook_restore
  - runbook_result_file
  - runbook_run
  - runbook_tls
  - runbook_tools
attributes:
  check_mode:
    support: full
    details: The backup is verified and everything that can be refused is; no database is made.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: The backup can be restored
  pg_restore_drill:
    connection: "{{ database_connection }}"
    backup_directory: "{{ run.directory }}/backup"
    prerequisites_file: sql/orders_split/prerequisites.sql
"""

RETURN = r"""
summary:
  description: What was proven, for the screen.
  returned: success
  type: list
  elements: str
scratch_database:
  description: Name that the scratch database had. Empty in check mode.
  returned: always
  type: str
scratch_server:
  description: Host and port of the server that had it.
  returned: always
  type: str
cleared_databases:
  description: Scratch databases that earlier drills had left behind, now dropped.
  returned: always
  type: list
  elements: str
restore_seconds:
  description: How long C(pg_restore) took, the time to expect of a restore.
  returned: always
  type: float
compare_seconds:
  description: How long the comparison took.
  returned: always
  type: float
seconds:
  description: How long the drill took.
  returned: always
  type: float
rows:
  description: Rows per table as restored.
  returned: always
  type: dict
rows_compared:
  description: Rows whose fingerprints were compared. 0 where the backup has no data snapshot.
  returned: always
  type: int
keys_to_stubs:
  description: Foreign keys to tables outside the backup, with the number of stubs each points at. They prove nothing.
  returned: always
  type: list
  elements: dict
left_out:
  description: Entries of the archive that were not restored.
  returned: always
  type: list
  elements: str
prepared:
  description: What the backup's objects need and the prerequisites did not make. Extensions, and stubs of the rest.
  returned: always
  type: list
  elements: str
counts:
  description: The data snapshot's counts, as M(pg_snapshot) compares them. Likewise C(samples), C(fingerprints) and
    C(differences).
  returned: always
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.module import (
    connection_argument,
    disk_arguments,
    progress_file_argument,
    restore_arguments,
    result_file_argument,
    run,
    run_argument,
    tls_argument,
)
from ansible.module_utils.runbook.restore.drill import Drill, read_only

FACTS: dict[str, Any] = {
    "scratch_database": "",
    "scratch_server": "",
    "cleared_databases": [],
    "restore_seconds": 0.0,
    "compare_seconds": 0.0,
    "seconds": 0.0,
    "rows": {},
    "rows_compared": 0,
    "keys_to_stubs": [],
    "left_out": [],
    "prepared": [],
    "counts": [],
    "samples": [],
    "fingerprints": [],
    "differences": [],
}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "prerequisites_file": {"type": "path"},
        "tls": tls_argument(),
        "progress_file": progress_file_argument(),
        **restore_arguments(),
        **disk_arguments(),
        "tools_directory": {"type": "path"},
        "scratch_connection": {**connection_argument(), "required": False},
        "run": run_argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Run the drill, or report what it would do."""
    settings = SessionSettings(
        application_name=f"runbook {(params['run'] or {}).get('id') or 'pg_restore_drill'}",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        # The session is idle while pg_restore works; nothing else uses the scratch database.
        idle_in_transaction_timeout_seconds=0,
        settings={"row_security": "off"},
    )
    with session(params["connection"], read_only(settings) if check_mode else settings) as connection:
        drill = Drill(connection, params, settings)
        if check_mode:
            return {
                **FACTS,
                "changed": True,
                "msg": f"would restore {params['backup_directory']} into a scratch database",
            }
        found = drill.run()
    return {**FACTS, **found, "changed": True, "msg": done(found)}


def done(found: dict[str, Any]) -> str:
    """Return what was proven and what was not."""
    rows = sum(found["rows"].values())
    text = f"drilled: {rows} rows of {len(found['rows'])} tables restored in {found['restore_seconds']} s"
    text += f", fingerprints of {found['rows_compared']} rows compared with the data snapshot"
    if found["keys_to_stubs"]:
        keys = (f"{key['name']} to {key['rows']} stubs of {key['parent']}" for key in found["keys_to_stubs"])
        text += f"; not proven: {', '.join(keys)}"
    other = [made for made in found["prepared"] if "not available" in made]
    text += "".join(f"; installed: {made}" for made in other)
    return f"{text}; the scratch database {found['scratch_database']} is dropped"


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS, shows_message=True)


if __name__ == "__main__":
    main()
