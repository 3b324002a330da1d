#!/usr/bin/python
"""Restore a backup's rows in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore
short_description: Restore the rows of a backup in place, without dropping anything
description:
  - The archive's rows of O(tables) are loaded into side tables (schema C(migration_runbook_restore)) while the
    application still runs. Then one transaction locks the tables, runs the schema part of O(revert_files), and deletes,
    inserts and changes only the rows that differ from the backup, over the backup's columns. Tables keep their
    identity, keys, policies, grants and publication membership.
  - Before it commits, every foreign key from and to the tables is checked, whatever schema the other end is in and
    whether or not the key is marked valid, constraints are validated by the revert files' last steps, and the rows
    are compared with the data snapshot of the backup. A failure rolls everything back and reports the reason.
  - Rows written after the backup are removed from O(tables); RV(rows) counts them. Take a backup of the current state
    first and name it in O(safety_backup_directory).
  - The transaction writes under C(session_replication_role=replica), so that no trigger of the application changes
    the restored rows. Without that privilege the restore does not begin.
  - Generated columns are computed again. Sequences keep their values, which are never behind the restored rows.
  - The versions of the revert files that ran are removed from the migration history.
options:
  revert_files:
    description:
      - Revert files of the migrations that came after the backup, the last applied one first. They are named
        C(<version>_<name>.sql).
      - Steps marked C(-- data) are left out, since the rows come from the backup. Steps that only validate constraints
        run last. The setting C(runbook.restored_to) is the time of the backup.
    type: list
    elements: path
    default: []
  revert_only_applied:
    description:
      - Leave out revert files whose version is neither in the migration history nor begun in the journal.
    type: bool
    default: true
  helper_schema:
    description: The plan's schema. The plan's O(plan_settings) are parameters C(<helper_schema>.<name>) of the session.
    type: str
  safety_backup_directory:
    description: Directory of a backup of the state before this restore. It is named in the result.
    type: path
extends_documentation_fragment:
  - runbook_connection
  - runbook_disk
  - runbook_locking
  - runbook_plan_settings
  - runbook_progress_file
  - runbook_restore
  - runbook_result_file
  - runbook_run
  - runbook_tools
  - runbook_protected_tables.required
attributes:
  check_mode:
    support: full
    details:
      - Nothing is loaded. RV(rows) then has the backup's and the present number of rows of each table, and
        RV(differences) what the data snapshot finds different now.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Bring the orders back as they were before the migration
  pg_restore:
    connection: "{{ database_connection }}"
    backup_directory: "{{ run.directory }}/backup"
    tables:
      - {table: public.customers, key: id}
      - {table: public.orders, key: id}
    revert_files:
      - sql/orders_split/revert/20250301000001_split_orders.sql
    safety_backup_directory: "{{ run.directory }}/safety_backup"
"""

RETURN = r"""
rows:
  description: Rows of each table.
  returned: always
  type: dict
  contains:
    in_backup: {description: Rows in the backup., type: int}
    before: {description: Rows before the restore. Counted in check mode only and null otherwise., type: int}
    deleted: {description: Rows that the backup does not have and that were removed. Null in check mode., type: int}
    inserted: {description: Rows inserted again. Null in check mode., type: int}
    updated: {description: Rows that had other values. Null in check mode., type: int}
    unchanged: {description: Rows not touched. Null in check mode., type: int}
removed_rows:
  description: Sum of the rows that were removed because the backup does not have them.
  returned: always
  type: int
safety_backup_directory:
  description: The backup that still has the removed rows. Empty when none was named.
  returned: always
  type: str
reverted_versions:
  description: Versions whose revert file ran (or would run), in that order.
  returned: always
  type: list
  elements: str
steps:
  description: Steps of the revert files that ran (or would run).
  returned: always
  type: list
  elements: str
foreign_keys:
  description: Each foreign key that was checked, with its C(orphans) and how many it had at the time of the backup.
  returned: always
  type: list
  elements: dict
sequences_left:
  description: Sequences of the tables. They keep their values.
  returned: always
  type: list
  elements: str
counts:
  description: The data snapshot's counts, as M(pg_snapshot) compares them. Likewise C(samples), C(fingerprints) and
    C(differences). Fingerprints of tables that were not restored are information.
  returned: always
  type: list
  elements: dict
load_seconds:
  description: Duration of loading the side tables, while the application runs.
  returned: always
  type: float
locked_seconds:
  description: Duration of the transaction that locked the tables, including lock waits.
  returned: always
  type: float
lock_attempts:
  description: Number of attempts to lock the tables.
  returned: always
  type: int
"""

import dataclasses
from typing import Any

from ansible.module_utils.runbook.backup import manifest as manifests
from ansible.module_utils.runbook.backup.dumped_tables import row_count
from ansible.module_utils.runbook.database.connection import SessionSettings, read_only_snapshot, session
from ansible.module_utils.runbook.journal.runs import new_run_id
from ansible.module_utils.runbook.locking.limits import Locking
from ansible.module_utils.runbook.module import (
    connection_argument,
    disk_arguments,
    progress_file_argument,
    restore_arguments,
    result_file_argument,
    run,
    run_argument,
    tables_argument,
)
from ansible.module_utils.runbook.restore.in_place import Restore
from ansible.module_utils.runbook.restore.rules import require_disk_space

FACTS: dict[str, Any] = {
    "rows": {},
    "removed_rows": 0,
    "safety_backup_directory": "",
    "reverted_versions": [],
    "steps": [],
    "foreign_keys": [],
    "sequences_left": [],
    "counts": [],
    "samples": [],
    "fingerprints": [],
    "differences": [],
    "load_seconds": 0.0,
    "locked_seconds": 0.0,
    "lock_attempts": 0,
}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "tables": tables_argument(required=True),
        "revert_files": {"type": "list", "elements": "path", "default": []},
        "revert_only_applied": {"type": "bool", "default": True},
        "helper_schema": {"type": "str"},
        "safety_backup_directory": {"type": "path"},
        "progress_file": progress_file_argument(),
        **restore_arguments(),
        **disk_arguments(),
        "tools_directory": {"type": "path"},
        "plan_settings": {"type": "dict", "default": {}},
        "locking": Locking.argument(),
        "run": run_argument(),
        "result_file": result_file_argument(),
    }


def session_settings(params: dict[str, Any], taken_at: str) -> SessionSettings:
    """Return the settings of the restore's sessions; revert files read the time of the backup."""
    plan = {
        f"{params['helper_schema']}.{name}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params["plan_settings"].items()
    }
    return SessionSettings(
        application_name=f"runbook {params['run_id']}",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        lock_timeout_seconds=params["locking"]["lock_timeout_seconds"],
        # Fail on rows that row-level security would hide; give the large joins enough memory.
        settings={
            "row_security": "off",
            "work_mem": "64MB",
            "runbook.run_id": params["run_id"],
            "runbook.restored_to": taken_at,
            **plan,
        },
    )


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Restore, or report what would be restored."""
    params = {**params, "run_id": (params["run"] or {}).get("id") or new_run_id()}
    safety = params["safety_backup_directory"] or ""
    if safety and not check_mode:
        manifests.verify(safety)
    manifest = manifests.read(params["backup_directory"])
    require_disk_space(manifest, params)
    settings = dataclasses.replace(session_settings(params, manifest["taken_at"]), read_only=check_mode)
    with session(params["connection"], settings) as connection:
        restore = Restore(connection, params, settings)
        now: dict[str, int] = {}
        if check_mode:
            with read_only_snapshot(connection) as cursor:
                found = restore.preview(cursor)
                now = {name: row_count(cursor, name) for name in restore.names}
        else:
            found = restore.run()
    rows = {
        table.name: {"in_backup": table.rows, "before": now.get(table.name), **found["rows"][table.name]}
        for table in restore.tables
    }
    removed = sum(row["deleted"] or 0 for row in rows.values())
    touched = sum(row[word] or 0 for row in rows.values() for word in ("deleted", "inserted", "updated"))
    return {
        **FACTS,
        **found,
        "changed": bool(found["reverted_versions"] or found.get("differences") or touched),
        "rows": rows,
        "removed_rows": removed,
        "safety_backup_directory": safety,
        "msg": would(rows) if check_mode else done(rows, removed, safety),
    }


def would(rows: dict[str, dict[str, Any]]) -> str:
    """Report what check mode found."""
    parts = (f"{name}: {row['before']} rows now, {row['in_backup']} in the backup" for name, row in rows.items())
    return "would restore " + "; ".join(parts)


def done(rows: dict[str, dict[str, Any]], removed: int, safety: str) -> str:
    """Report what was done and which backup contains the removed rows."""
    words = ("deleted", "inserted", "updated", "unchanged")
    parts = (f"{name}: " + ", ".join(f"{row[word]} {word}" for word in words) for name, row in rows.items())
    text = "restored and verified: " + "; ".join(parts)
    if removed:
        where = f"the safety backup {safety} contains them" if safety else "no safety backup was named"
        text += f". {removed} rows that are not in the backup were removed, regardless of their origin; {where}"
    return text


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS)


if __name__ == "__main__":
    main()
