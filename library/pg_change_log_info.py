#!/usr/bin/python
"""Say what the application wrote to the logged tables."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_change_log_info
short_description: Say what the application wrote to the logged tables
description:
  - Reads the log that M(pg_change_log) makes, and counts per table the rows that the application inserted, updated and
    deleted since a data snapshot. A row counts once, by what became of it in the end.
  - Works on a database without a log. Only reads.
options:
  snapshot_directory:
    description: The data snapshot. Without one there, everything in the log counts.
    type: path
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    support: full
    details: Only reads.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: What the application wrote since the snapshot
  pg_change_log_info:
    connection: "{{ database_connection }}"
    snapshot_directory: "{{ run.directory }}/snapshot"
"""

RETURN = r"""
exists:
  description: Whether there is a log.
  returned: always
  type: bool
since:
  description: When the snapshot was taken, or the log was made; null without a log.
  returned: always
  type: str
tables:
  description: One entry per logged table.
  returned: always
  type: list
  elements: dict
  contains:
    table: {description: The table., type: str}
    made_at: {description: Since when it is logged., type: str}
    inserted: {description: Rows that were not there and are., type: int}
    updated: {description: Rows that were there and are., type: int}
    deleted: {description: Rows that were there and are gone., type: int}
    changes: {description: "Changes in all, of the same row too.", type: int}
    truncations: {description: How often the table was truncated., type: int}
    last_at: {description: When the newest of them was made., type: str}
"""

import os
from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, read_only_snapshot, session
from ansible.module_utils.runbook.evidence import snapshot as snapshots
from ansible.module_utils.runbook.evidence.written_rows import EMPTY, summary
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "snapshot_directory": {"type": "path"},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Count what is newer than the snapshot."""
    directory = params["snapshot_directory"] or ""
    there = bool(directory) and os.path.isfile(os.path.join(directory, snapshots.SNAPSHOT_FILE))
    server = snapshots.load(directory)["server"] if there else {}
    settings = SessionSettings(application_name="runbook change_log_info", read_only=True)
    with session(params["connection"], settings) as connection, read_only_snapshot(connection) as cursor:
        facts = summary(cursor, server.get("visible", ""), server.get("time"))
    rows = sum(table["changes"] for table in facts["tables"])
    return {"msg": f"{rows} changes by the application" if facts["exists"] else "there is no change log", **facts}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY)


if __name__ == "__main__":
    main()
