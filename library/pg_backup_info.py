#!/usr/bin/python
"""Verify the checksums of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup_info
short_description: Verify that a backup is complete and belongs to a database and a run, and return its manifest
description:
  - Compares size and SHA-256 of every file with C(manifest.json), as M(pg_backup) wrote it.
  - If files are missing or damaged, the module fails and names each of them.
  - With O(connection) it also refuses what must not be restored there. That is a backup of another server or
    database, made by tools of another major version, of another run or plan, older than the run, unknown to the
    run's journal, or without the rows of O(tables).
  - Nothing is changed. Without O(connection), only files are read and no database is required.
options:
  directory:
    description: Directory of the backup.
    type: path
    required: true
  tables:
    description: Tables, as C(schema.table), whose rows the backup must hold.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [runbook_connection.optional, runbook_result_file, runbook_run, runbook_tools]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: The backup of that run can still be restored
  pg_backup_info:
    directory: artifacts/production/shop/20250122T101500Z-3f9a1c/backup

- name: The backup belongs to this run of this database
  pg_backup_info:
    directory: "{{ run.directory }}/backup"
    connection: "{{ database_connection }}"
    run: {id: "{{ run.id }}", plan_hash: "{{ run.plan_hash }}"}
    tables: [public.orders]
"""

RETURN = r"""
directory:
  description: Directory of the backup.
  returned: always
  type: str
manifest:
  description: What C(manifest.json) holds; M(pg_backup) describes it. Empty when the backup is damaged.
  returned: always
  type: dict
damaged_files:
  description: Files that are missing or damaged, relative to the directory.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.runbook.backup import manifest as manifests
from ansible.module_utils.runbook.backup.belonging import require_belonging
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run, run_argument

FACTS: dict[str, Any] = {"directory": "", "manifest": {}, "damaged_files": []}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "directory": {"type": "path", "required": True},
        "connection": {**connection_argument(), "required": False},
        "run": run_argument(),
        "tables": {"type": "list", "elements": "str", "default": []},
        "tools_directory": {"type": "path"},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Verify every file and that the backup belongs to the database and the run."""
    directory = params["directory"]
    manifest = manifests.verify(directory)
    if params["connection"]:
        settings = SessionSettings(application_name="runbook pg_backup_info", read_only=True)
        with session(params["connection"], settings) as connection:
            require_belonging(
                connection, directory, manifest, params["run"], params["tables"], params["tools_directory"]
            )
    return {
        "msg": f"whole: {len(manifest['files'])} files, {manifest['total_bytes']} bytes, "
        f"taken from {manifest['database']} at {manifest['taken_at']}",
        "directory": params["directory"],
        "manifest": manifest,
        "damaged_files": [],
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS, required_by={"run": "connection"})


if __name__ == "__main__":
    main()
