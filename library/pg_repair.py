#!/usr/bin/python
"""Diagnose the issues that a plan knows, and repair one in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_repair
short_description: Diagnose the issues that a plan knows, and repair one in one transaction
description:
  - Each issue in the plan's C(repairs) section has a query for wrong rows and one or more remedies. Without O(apply),
    the module counts the rows by reason and changes nothing.
  - A remedy runs in one transaction, while no migration writes, under bounded lock waits. Removed rows go to
    the plan's archive, including every row that a foreign key would delete with them. The journal keeps its counts.
  - The writes of a repair count as application writes, so a comparison with a run's snapshot excludes them.
options:
  issue:
    description: Name of the issue. Empty diagnoses all of them.
    type: str
    default: ""
  apply:
    description: Whether to repair.
    type: bool
    default: false
  remedy:
    description: Name of the remedy; required if the issue has several.
    type: str
    default: ""
  work_list:
    description: The corrected work list, for a remedy that takes one.
    type: path
  keys:
    description: Keys of the rows to repair; by default all.
    type: list
    elements: str
    default: []
  directory:
    description: Where the work list of an issue is written, mode 0600. Empty writes none.
    type: path
extends_documentation_fragment:
  - runbook_connection
  - runbook_locking
  - runbook_plan
  - runbook_progress_file
  - runbook_retry_command
  - runbook_result_file
  - runbook_statement_timeout
attributes:
  check_mode:
    description: With O(apply), reports in a read-only transaction what would be repaired.
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: What is wrong
  pg_repair:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"

- name: Archive the rows that one issue finds
  pg_repair:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    issue: rows_without_parent
    remedy: archive
    apply: true
"""

RETURN = r"""
issue: {description: Name of the issue; empty when all were diagnosed., type: str, returned: always}
title: {description: Title of the issue., type: str, returned: always}
cause: {description: Cause of the issue., type: str, returned: always}
remedy: {description: The remedy that was applied., type: str, returned: always}
rows_examined: {description: Rows that its query examined., type: int, returned: always}
rows_found: {description: Rows that were wrong., type: int, returned: always}
reasons: {description: Number of rows by reason., type: dict, returned: always}
rows: {description: The first rows., type: list, elements: dict, returned: always}
rows_changed: {description: Rows that were changed., type: int, returned: always}
rows_archived: {description: "Archived rows, including those of foreign keys.", type: int, returned: always}
rows_left: {description: Rows that are still wrong., type: int, returned: always}
work_list: {description: The work list that was written., type: str, returned: always}
repair_id: {description: Id of the repair in the journal and the archive., type: str, returned: always}
issues: {description: The diagnoses., type: list, elements: dict, returned: always}
left_in_the_way:
  description: Issues with rows that would stop the migration (the plan's C(in_the_way)), with their number.
  type: list
  elements: str
  returned: always
summary: {description: Lines for the screen., type: list, elements: str, returned: always}
"""

from typing import Any

from ansible.module_utils.runbook.locking.limits import Locking
from ansible.module_utils.runbook.module import (
    connection_argument,
    progress_file_argument,
    result_file_argument,
    retry_command_argument,
    run,
)
from ansible.module_utils.runbook.repair.repair import EMPTY, diagnose, repair


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "issue": {"type": "str", "default": ""},
        "apply": {"type": "bool", "default": False},
        "remedy": {"type": "str", "default": ""},
        "work_list": {"type": "path"},
        "keys": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
        "progress_file": progress_file_argument(),
        "locking": Locking.argument(),
        "retry_command": retry_command_argument("repair"),
        "statement_timeout_seconds": {"type": "int", "default": 600},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Diagnose, then repair if requested."""
    if not (params["apply"] and params["issue"]):
        return diagnose(params)
    result = repair(params, check_mode=check_mode)
    return {**result, "summary": [*result["summary"], result["msg"]]}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY)


if __name__ == "__main__":
    main()
