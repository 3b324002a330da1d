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
  backup_directory:
    description: Directory of a backup that M(pg_backup) took of this database, in the directory or custom format.
    type: path
    required: true
  snapshot_directory:
    description: Directory of the data snapshot taken with the backup. The one that the manifest names, unless given.
    type: path
  prerequisites_file:
    description: SQL that makes what the schemas lean on. Roles, stubs of outside tables and functions, extensions.
    type: path
  scratch_connection:
    description:
      - Where the scratch database is made, if not on the server of O(connection). Keys as in O(connection). It must
        have the same major version.
    type: dict
    suboptions:
      host: {description: "Host name or socket directory.", type: str, required: true}
      port: {description: Port., type: int, default: 5432}
      dbname: {description: Database., type: str, default: postgres}
      user: {description: Role., type: str, default: postgres}
      password: {description: Password., type: str}
      passfile: {description: "Password file as libpq reads it, mode 0600.", type: path}
      role: {description: Role to act as once connected., type: str}
      sslmode:
        description: Mode of TLS.
        type: str
        default: verify-full
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
      sslrootcert: {description: Certificate authority., type: path}
      sslcrl: {description: Revoked certificates., type: path}
      sslcert: {description: Client certificate., type: path}
      sslkey: {description: Its private key., type: path}
      channel_binding: {description: "As libpq has it.", type: str, choices: [disable, prefer, require]}
      gssencmode:
        description: Encryption by GSSAPI.
        type: str
        default: disable
        choices: [disable, prefer, require]
      connect_timeout_seconds: {description: "How long to wait for the server, in seconds.", type: int, default: 10}
  tls:
    description: Whether O(scratch_connection) must be as good as C(sslmode=verify-full). A Unix socket always is.
    type: dict
    default: {}
    suboptions:
      required:
        description: Whether a weaker connection is refused.
        type: bool
        default: false
      accept:
        description: The weakest mode that the inventory accepts; it needs a O(tls.reason). Empty accepts none.
        type: str
        default: ""
      reason:
        description: Why it is accepted, for the report.
        type: str
        default: ""
  jobs:
    description: Parallel workers of C(pg_restore).
    type: int
    default: 2
  tools_directory:
    description: Directory with C(pg_restore) of the server's major version. See M(pg_backup).
    type: path
  free_disk_bytes:
    description: Free disk space of the scratch database's server, in bytes, where only you can see it.
    type: int
  disk_path:
    description: A path on the disk of the scratch database's server, where that is this machine.
    type: path
  statement_timeout_seconds:
    description: Longest time for one statement, in seconds.
    type: int
    default: 7200
  run:
    description: The open run that the backup was taken for.
    type: dict
    suboptions:
      id: {description: Id of the open run., type: str, required: true}
      plan_hash: {description: Hash of the run's plan., type: str}
      directory: {description: Directory of the run., type: path}
extends_documentation_fragment: [runbook_connection, runbook_progress_file, runbook_result_file]
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
    progress_file_argument,
    result_file_argument,
    run,
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
    one_run = {"id": {"type": "str", "required": True}, "plan_hash": {"type": "str"}, "directory": {"type": "path"}}
    return {
        "connection": connection_argument(),
        "backup_directory": {"type": "path", "required": True},
        "snapshot_directory": {"type": "path"},
        "prerequisites_file": {"type": "path"},
        "scratch_connection": {**connection_argument(), "required": False},
        "tls": tls_argument(),
        "jobs": {"type": "int", "default": 2},
        "tools_directory": {"type": "path"},
        "free_disk_bytes": {"type": "int"},
        "disk_path": {"type": "path"},
        "statement_timeout_seconds": {"type": "int", "default": 7200},
        "run": {"type": "dict", "options": one_run},
        "progress_file": progress_file_argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Drill, or say what would be drilled."""
    settings = SessionSettings(
        application_name=f"runbook {(params['run'] or {}).get('id') or 'pg_restore_drill'}",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        # It waits while pg_restore works; nothing else is in the scratch database.
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
    """Say what was proven, and what was not."""
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
