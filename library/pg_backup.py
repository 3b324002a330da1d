#!/usr/bin/python
"""Take a verified backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup
short_description: Dump schemas with their rows, verify the dump, and take the data snapshot of the same instant
description:
  - Opens a REPEATABLE READ, READ ONLY transaction, exports its snapshot and runs C(pg_dump --snapshot) while it counts
    every table's rows and takes the data snapshot in that transaction. Dump, counts and data snapshot are of one
    instant, whatever the application writes meanwhile.
  - Verifies the dump before it counts as a backup. It has at least O(minimum_bytes), its table of contents holds every
    table of O(schemas), and the rows read back from it are as many as the database had, per table.
  - Writes C(manifest.json) with size and SHA-256 of every file, row counts, server identity, versions, LSN, time, and
    what such a dump does not carry.
  - The backup appears at O(directory) as a whole or not at all. Directories have mode 0700, files 0600. A dump that
    fails its verification is kept beside it with the name C(.rejected).
  - Where O(directory) holds a backup already, none is taken. Its checksums are verified instead, and those of the data
    snapshot that belongs to it.
  - The password goes to C(pg_dump) by its environment, never on a command line.
options:
  directory:
    description: Directory of the backup. It is made.
    type: path
    required: true
  schemas:
    description: Schemas to dump, with all their tables and rows.
    type: list
    elements: str
    required: true
  tables:
    description: Tables, as C(schema.table), whose rows must be in the backup. They must lie in O(schemas).
    type: list
    elements: str
    default: []
  scope:
    description:
      - V(tables) dumps O(schemas). V(database) dumps the whole database, so that it can be restored beside the live one
        and take its place (M(pg_restore_swap)); the role must be able to read every table. O(schemas) are then those
        that must be there.
      - The runbook's journal (schema C(migration_runbook)) and subscriptions are in neither.
    type: str
    choices: [tables, database]
    default: tables
  history_table:
    description: Table with the history of migrations. Its schema is dumped too, where it exists. Empty for none.
    type: str
    default: supabase_migrations.schema_migrations
  jobs:
    description: Parallel workers of the dump and of reading it back.
    type: int
    default: 2
  compression:
    description:
      - V(none), or V(gzip), V(lz4) or V(zstd) with an optional level, as in V(gzip:6). V(lz4) and V(zstd) need
        PostgreSQL 16.
      - Unless given, V(zstd:1) where C(pg_dump) has it, else V(none). That takes the least time to dump, verify and
        restore together; V(gzip:1) needs a third of the space of V(none) and twice the time.
    type: str
  minimum_bytes:
    description: Least size of the dump on disk, in bytes.
    type: int
    default: 0
  lock_wait_timeout_seconds:
    description: How long the dump and the snapshot wait for a table that somebody has locked, in seconds.
    type: int
    default: 30
  dump_timeout_seconds:
    description: How long the dump may take, in seconds.
    type: int
    default: 21600
extends_documentation_fragment:
  - runbook_connection
  - runbook_result_file
  - runbook_run
  - runbook_snapshot.with_backup
  - runbook_tools
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Back up the shop's schema before the migration
  pg_backup:
    connection: "{{ database_connection }}"
    directory: "{{ run.directory }}/backup"
    schemas: [public]
    tables: [public.customers, public.orders]
    snapshot:
      directory: "{{ run.directory }}/snapshot"
      fingerprints:
        - {name: orders, table: public.orders, key: id}

- name: Back up the whole database, without a run
  pg_backup:
    connection: "{{ database_connection }}"
    directory: /var/backups/shop/2025-01-22
    schemas: [public]
    scope: database
"""

RETURN = r"""
directory:
  description: Directory of the backup.
  returned: always
  type: str
manifest:
  description: What C(manifest.json) holds. Empty in check mode, unless the backup is there already.
  returned: always
  type: dict
  contains:
    taken_at: {description: "The instant of the backup, UTC.", type: str}
    server: {description: "Version, major, user, encoding, system_identifier (empty if not readable).", type: dict}
    database: {description: Name of the database., type: str}
    lsn: {description: Position in the write-ahead log at that instant., type: str}
    tool: {description: Version of C(pg_dump)., type: str}
    archive: {description: "Name of the dump, a directory or file, in the backup's directory.", type: str}
    total_bytes: {description: Size of the dump on disk., type: int}
    files: {description: "Path, bytes and sha256 of every file of the dump.", type: list}
    scope: {description: The option O(scope)., type: str}
    schemas: {description: Schemas in the dump., type: list}
    rows: {description: Rows per table., type: dict}
    run: {description: Id and plan hash of the run that it was taken for; null without one., type: dict}
    tables_bytes: {description: "Size of the tables with their indexes in the database, in bytes.", type: int}
    publication_membership: {description: "Publications of the tables, as C(publication: schema.table).", type: list}
    outside_keys: {description: Foreign keys to tables that are not in the dump., type: list}
    grantees: {description: Roles that are granted something on what is in the dump., type: list}
    tables: {description: "Per table its entry in the dump, the types of its columns, and its rows.", type: dict}
    unvalidated_keys: {description: Foreign keys that are not validated with the rows that break them., type: list}
    not_carried: {description: "What the dump lacks: what, meaning, and the objects concerned here.", type: list}
    snapshot: {description: Directory and SHA-256 of the data snapshot; null without one., type: dict}
    seconds: {description: How long it took with its verification; C(dump_seconds) without., type: float}
snapshot:
  description: The data snapshot as M(pg_snapshot) returns it. Empty without one.
  returned: always
  type: dict
damaged_files:
  description: Files of an existing backup that are missing or damaged.
  returned: always
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.runbook.backup.backup import session_settings, take_backup
from ansible.module_utils.runbook.backup.dumped_tables import SCOPES, what_to_dump
from ansible.module_utils.runbook.backup.reuse import journal_backup, require_open_run, reuse_backup
from ansible.module_utils.runbook.backup.tools import find_tool
from ansible.module_utils.runbook.database.connection import read_only_snapshot, server_version, session
from ansible.module_utils.runbook.evidence.snapshot import facts_of, snapshot_options
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run, run_argument

FACTS: dict[str, Any] = {"directory": "", "manifest": {}, "snapshot": {}, "damaged_files": []}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    names = {"type": "list", "elements": "str"}
    snapshot = {"directory": {"type": "path", "required": True}, **snapshot_options()}
    return {
        "connection": connection_argument(),
        "directory": {"type": "path", "required": True},
        "schemas": {**names, "required": True},
        "tables": {**names, "default": []},
        "scope": {"type": "str", "choices": list(SCOPES), "default": "tables"},
        "history_table": {"type": "str", "default": "supabase_migrations.schema_migrations"},
        "jobs": {"type": "int", "default": 2},
        "compression": {"type": "str"},
        "minimum_bytes": {"type": "int", "default": 0},
        "tools_directory": {"type": "path"},
        "lock_wait_timeout_seconds": {"type": "int", "default": 30},
        "dump_timeout_seconds": {"type": "int", "default": 21600},
        "snapshot": {"type": "dict", "options": snapshot},
        "run": run_argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Verify an existing backup or take a new one, then record it in the journal."""
    run_id = (params["run"] or {}).get("id", "")
    params = {**params, "application_name": f"runbook {run_id or 'pg_backup'}"}
    directory = params["directory"]
    with session(params["connection"], session_settings(params)) as connection:
        if run_id:
            require_open_run(connection, run_id, directory)
        there = os.path.lexists(directory)
        if there:
            taken = reuse_backup(connection, params)
        elif check_mode:
            return {**FACTS, **would(connection, params), "directory": directory, "changed": True}
        else:
            taken = take_backup(connection, params)
        noted = bool(run_id) and not check_mode and journal_backup(connection, run_id, directory, taken["manifest"])
    manifest, snapshot = taken["manifest"], taken["snapshot"]
    size = f"{manifest['total_bytes']} bytes, {sum(manifest['rows'].values())} rows of {len(manifest['rows'])} tables"
    return {
        "changed": noted or not there,
        "msg": f"{'kept, its checksums verified' if there else 'taken and verified'}: {directory} ({size})",
        "directory": directory,
        "manifest": manifest,
        "snapshot": facts_of(snapshot, manifest["snapshot"]["directory"]) if snapshot else {},
        "damaged_files": [],
    }


def would(connection: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Report what would be done, after finding the tools, the schemas and the tables."""
    tools = ("pg_dump", "pg_restore")
    found = [str(find_tool(name, server_version(connection), params["tools_directory"])) for name in tools]
    with read_only_snapshot(connection) as cursor:
        schemas, tables = what_to_dump(cursor, params)
    of = "the whole database" if params["scope"] == "database" else ", ".join(schemas)
    text = f"would dump {len(tables)} tables of {of} into {params['directory']} with {found[0]}"
    return {"msg": text}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS)


if __name__ == "__main__":
    main()
