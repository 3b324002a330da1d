#!/usr/bin/python
"""Replace the live database with a restored one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore_swap
short_description: Restore a backup of the whole database beside the live one, then swap their names
description:
  - O(phase=prepare) works while the application runs. First it refuses everything that would prevent the swap, with
    reasons. Then it creates a database beside the live one, with its encoding, locale, tablespace and owner, loads the
    archive into it in parallel, and compares everything with the archive and the data snapshot - every table's rows,
    the fingerprints, and the schema with owners, grants, policies, comments, default privileges and publications.
  - O(phase=switch) requires that the application is stopped. The journal is copied; the run stays open in it. Then
    one transaction renames the live database and gives its name, rights, comment and settings to the one beside. While
    the server waits for the last session to end, it accepts no new one; another session ends the remaining ones.
  - The old database is kept with the name RV(kept_database). It contains everything written since the backup.
  - Either phase can be killed and repeated. A half-loaded database is loaded again, a verified one is used, and after
    the switch both phases report it and change nothing. Names and comments of the databases record the progress.
  - The change log's triggers are not restored, because their functions belong to the journal.
options:
  phase:
    description: The phase to run.
    type: str
    choices: [prepare, switch]
    required: true
  maintenance_database:
    description:
      - Another database of the same server; a session cannot rename its own database. By default
        V(postgres), or V(template1) if the live one is named postgres.
    type: str
  leave_replication_behind:
    description: Whether replication slots and subscriptions may stay with the old database.
    type: bool
    default: false
  rename_attempts:
    description: Number of attempts of the rename. Each waits five seconds for sessions to end.
    type: int
    default: 5
  rename_pause_seconds:
    description: Pause between attempts, in seconds.
    type: float
    default: 0.5
extends_documentation_fragment:
  - runbook_connection
  - runbook_disk
  - runbook_progress_file
  - runbook_restore
  - runbook_result_file
  - runbook_run.required
  - runbook_tools
attributes:
  check_mode:
    support: full
    details: Reports what would prevent the swap and its progress. Creating and renaming a database is not tried.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Load the run's backup beside the live database
  pg_restore_swap:
    connection: "{{ database_connection }}"
    phase: prepare
    backup_directory: "{{ run.directory }}/backup"
    run: {id: "{{ run.id }}", plan_hash: "{{ run.plan_hash }}"}

- name: Switch the databases
  pg_restore_swap:
    connection: "{{ database_connection }}"
    phase: switch
    backup_directory: "{{ run.directory }}/backup"
    run: {id: "{{ run.id }}", plan_hash: "{{ run.plan_hash }}"}
"""

RETURN = r"""
state:
  description: V(absent), V(half_loaded) (both in check mode only), V(prepared) or V(switched).
  returned: always
  type: str
live_database:
  description: Name of the live database, before and after.
  returned: always
  type: str
side_database:
  description: Name of the restored one until the switch.
  returned: always
  type: str
kept_database:
  description: Name of the old one after the switch.
  returned: always
  type: str
drop_command:
  description: Command that drops the old database once it is no longer needed.
  returned: always
  type: str
rows:
  description: Rows of each table of the restored database, as compared with the backup.
  returned: always
  type: dict
rows_compared:
  description: Rows whose fingerprints were compared with the data snapshot.
  returned: always
  type: int
schema_lines:
  description: Lines of the schema's text that were compared with the archive's.
  returned: always
  type: int
counts:
  description: The data snapshot's counts, as M(pg_snapshot) compares them. Likewise C(samples), C(fingerprints) and
    C(differences).
  returned: always
  type: list
  elements: dict
left_out:
  description: Entries of the archive that were not restored.
  returned: always
  type: list
  elements: str
given:
  description: Privileges and settings that the database got from the old one (tried in O(phase=prepare)).
  returned: always
  type: list
  elements: str
load_seconds:
  description: Duration of C(pg_restore). Likewise C(analyze_seconds) and C(verify_seconds).
  returned: always
  type: float
ended_sessions:
  description: Sessions that the switch ended.
  returned: always
  type: list
  elements: str
rename_seconds:
  description: How long no session could connect to the database.
  returned: always
  type: float
rename_attempts:
  description: Number of attempts of the rename.
  returned: always
  type: int
switch_seconds:
  description: Duration of the switch, including the copy of the journal.
  returned: always
  type: float
journal_rows:
  description: Copied rows of the journal, by table.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings
from ansible.module_utils.runbook.module import (
    connection_argument,
    disk_arguments,
    progress_file_argument,
    restore_arguments,
    result_file_argument,
    run,
    run_argument,
)
from ansible.module_utils.runbook.restore.swap import Swap
from ansible.module_utils.runbook.restore.swap_checks import maintenance_of

FACTS: dict[str, Any] = {
    "state": "",
    "live_database": "",
    "side_database": "",
    "kept_database": "",
    "drop_command": "",
    "rows": {},
    "rows_compared": 0,
    "schema_lines": 0,
    "counts": [],
    "samples": [],
    "fingerprints": [],
    "differences": [],
    "left_out": [],
    "given": [],
    "load_seconds": 0.0,
    "analyze_seconds": 0.0,
    "verify_seconds": 0.0,
    "ended_sessions": [],
    "rename_seconds": 0.0,
    "rename_attempts": 0,
    "switch_seconds": 0.0,
    "journal_rows": {},
}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "phase": {"type": "str", "choices": ["prepare", "switch"], "required": True},
        "maintenance_database": {"type": "str"},
        "leave_replication_behind": {"type": "bool", "default": False},
        "rename_attempts": {"type": "int", "default": 5},
        "rename_pause_seconds": {"type": "float", "default": 0.5},
        "progress_file": progress_file_argument(),
        **restore_arguments(),
        **disk_arguments(),
        "tools_directory": {"type": "path"},
        "run": run_argument(required=True),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Run one phase, or report the progress of the swap."""
    usual = maintenance_of(params["connection"]["dbname"])
    settings = SessionSettings(
        application_name=f"runbook {params['run']['id']}",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        read_only=check_mode,
        # Fail instead of omitting rows that row-level security would hide.
        settings={"row_security": "off", "work_mem": "64MB"},
    )
    swap = Swap({**params, "maintenance_database": params["maintenance_database"] or usual}, settings)
    if check_mode:
        found = swap.preview()
        changed = found["state"] != "switched"
        return {**FACTS, **found, "changed": changed, "msg": would(found, params["phase"])}
    found = swap.prepare() if params["phase"] == "prepare" else swap.switch()
    changed = "load_seconds" in found or "switch_seconds" in found
    return {**FACTS, **found, "changed": changed, "msg": done({**FACTS, **found}, changed)}


def would(found: dict[str, Any], phase: str) -> str:
    """Report what check mode found."""
    if found["state"] == "switched":
        return f"{found['live_database']} was swapped already; the old database is {found['kept_database']}"
    what = "load the backup into" if phase == "prepare" else "switch to"
    return f"would {what} {found['side_database']}, which is {found['state'].replace('_', ' ')} now"


def done(found: dict[str, Any], changed: bool) -> str:
    """Report what was done and examined."""
    if found["state"] == "switched":
        kept = f"the old database is kept as {found['kept_database']}"
        if not changed:
            return f"{found['live_database']} was swapped already; {kept}"
        return (
            f"{found['live_database']} is the restored database; {kept}. {len(found['ended_sessions'])} sessions were "
            f"ended, and for {found['rename_seconds']} s nobody could connect"
        )
    if not changed:
        return f"reused, already verified: {found['side_database']}"
    return (
        f"loaded and verified in {found['side_database']}: {sum(found['rows'].values())} rows of "
        f"{len(found['rows'])} tables counted, {found['rows_compared']} compared by fingerprint, "
        f"{found['schema_lines']} lines of schema compared"
    )


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS)


if __name__ == "__main__":
    main()
