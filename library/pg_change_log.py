#!/usr/bin/python
"""Start or end the log of what the application writes to the protected tables."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_change_log
short_description: Log what the application writes to tables, or end that
description:
  - With O(state=present), statement triggers on O(tables) write to C(migration_runbook.change) which rows the
    application inserts, updates and deletes, with a hash of each old row over the columns that the table has now.
    A data snapshot that is taken afterwards can then be compared exactly on a database in use. Writes of the run
    itself (a session that sets C(runbook.run_id) and has the role of the table's owner) are not logged.
  - Each table is done in a transaction of its own, locked in SHARE ROW EXCLUSIVE mode in bounded attempts, so writers
    that began before are waited for. A table that is logged as it should be is left alone. Once the run has its
    snapshot, the columns stay those that were logged then.
  - With O(state=absent), the triggers and the log are removed. Refused while another run than O(run) is open and has
    changed tables; an open run that has changed none is closed as abandoned.
options:
  state:
    description: Whether the tables are logged.
    type: str
    choices: [present, absent]
    default: present
  kept:
    description: Columns of these tables whose old values are kept beside the hash.
    type: list
    elements: dict
    default: []
    suboptions:
      table:
        description: One of O(tables).
        type: str
        required: true
      kept_columns:
        description: Its columns.
        type: list
        elements: str
        required: true
  statement_timeout_seconds:
    description: Longest time for one statement, in seconds.
    type: int
    default: 60
extends_documentation_fragment:
  - runbook_connection
  - runbook_locking
  - runbook_progress_file
  - runbook_result_file
  - runbook_run
  - runbook_protected_tables
attributes:
  check_mode:
    support: full
    details: Says what would be made or removed; only reads.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Log what the application writes from here on
  pg_change_log:
    connection: "{{ database_connection }}"
    tables:
      - {table: public.orders, key: id}
      - {table: public.order_lines, key: id}
    kept:
      - {table: public.order_lines, kept_columns: [order_id]}
    run:
      id: "{{ run.id }}"

- name: End the watch
  pg_change_log:
    connection: "{{ database_connection }}"
    state: absent
"""

RETURN = r"""
summary:
  description: Which tables are logged, for the screen.
  returned: success
  type: list
  elements: str
tables:
  description: One entry per table, in the order in which they were done.
  returned: always
  type: list
  elements: dict
  contains:
    table: {description: The table., type: str}
    status: {description: "V(made), V(kept) or V(removed); in check mode what would be.", type: str}
    attempts: {description: How often its lock was tried., type: int}
    seconds: {description: How long that took., type: float}
"""

from typing import Any

from ansible.module_utils.runbook.evidence.change_log import begin
from ansible.module_utils.runbook.evidence.change_log_end import end
from ansible.module_utils.runbook.locking.limits import Locking
from ansible.module_utils.runbook.module import (
    connection_argument,
    progress_file_argument,
    result_file_argument,
    run,
    run_argument,
    tables_argument,
)


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    kept = {
        "table": {"type": "str", "required": True},
        "kept_columns": {"type": "list", "elements": "str", "required": True},
    }
    return {
        "connection": connection_argument(),
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "tables": tables_argument(),
        "kept": {"type": "list", "elements": "dict", "default": [], "options": kept},
        "statement_timeout_seconds": {"type": "int", "default": 60},
        "progress_file": progress_file_argument(),
        "locking": Locking.argument(),
        "run": run_argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Start or end the change log."""
    act = begin if params["state"] == "present" else end
    return act(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts={"tables": []}, shows_message=True, required_if=[("state", "present", ["tables"])])


if __name__ == "__main__":
    main()
