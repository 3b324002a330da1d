#!/usr/bin/python
"""Find objects that cancelled statements left unfinished, and finish them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_unfinished_objects
short_description: Find what cancelled statements left half-built, and finish it
description:
  - Looks at the plan's protected tables for invalid indexes, constraints that are not validated, and tables that are in
    no publication any more though the run's backup says so, or though a run that was killed took them out for its
    backfill; those come back with the column list and row filter that the journal has.
  - With O(apply) an invalid index is built anew (REINDEX CONCURRENTLY), what a cancelled REINDEX left beside one is
    dropped, a constraint is validated, a table is put back into its publication. Each is a statement of its own.
  - A constraint that is waiting for its migration shows up too; to validate it earlier does no harm.
options:
  backup_directory:
    description: Backup of a run, whose manifest knows the publications.
    type: path
  apply:
    description: Whether to finish them.
    type: bool
    default: false
  lock_timeout_seconds:
    description: How long a statement that makes others wait may wait for its lock, in seconds.
    type: float
    default: 0.5
  long_step_limit_seconds:
    description: Longest time for one statement, in seconds.
    type: int
    default: 7200
extends_documentation_fragment:
  - runbook_connection
  - runbook_plan
  - runbook_progress_file
  - runbook_result_file
  - runbook_retry_command
attributes:
  check_mode:
    description: Says what would be finished.
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Finish what was left half-built
  pg_unfinished_objects:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    backup_directory: "{{ run.directory }}/backup"
    apply: true
"""

RETURN = r"""
repair_id: {description: By this the journal knows it., type: str, returned: always}
rows_examined: {description: Objects that were looked at., type: int, returned: always}
objects:
  description: What was found (C(kind), C(schema), C(name), C(table), and C(taken_out_by) a run).
  type: list
  elements: dict
  returned: always
done: {description: What was finished., type: list, elements: dict, returned: always}
left: {description: What is still unfinished., type: list, elements: dict, returned: always}
summary: {description: All of it in lines for the screen., type: list, elements: str, returned: always}
"""

from typing import Any

from ansible.module_utils.runbook.module import (
    connection_argument,
    progress_file_argument,
    result_file_argument,
    retry_command_argument,
    run,
)
from ansible.module_utils.runbook.repair.unfinished_objects import EMPTY, unfinished


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "backup_directory": {"type": "path"},
        "apply": {"type": "bool", "default": False},
        "retry_command": retry_command_argument("repair"),
        "lock_timeout_seconds": {"type": "float", "default": 0.5},
        "long_step_limit_seconds": {"type": "int", "default": 7200},
        "progress_file": progress_file_argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Find, then finish if requested."""
    return unfinished(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY)


if __name__ == "__main__":
    main()
