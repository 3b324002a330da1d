#!/usr/bin/python
"""Diagnose the issues that a plan knows, and repair one in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_repair
short_description: Diagnose the issues that a plan knows, and repair one in one transaction
description:
  - Each issue of the plan's C(repairs) section has a query for the rows that are wrong and one or more remedies.
    Without O(apply) the rows are counted by reason and nothing is changed.
  - A remedy runs in one transaction, while no migration writes, under bounded lock waits. What it takes away goes to
    the plan's archive, with every row that would go along by a foreign key. The journal keeps its counts.
  - A repair's writes count as the application's, so that a comparison with a run's snapshot leaves them out.
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
    description: Name of the remedy; needed where the issue has several.
    type: str
    default: ""
  work_list:
    description: The corrected work list, for a remedy that takes one.
    type: path
  keys:
    description: Only these rows, by key.
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
    description: With O(apply) says what would be repaired, in a read-only transaction.
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
title: {description: What it is called., type: str, returned: always}
cause: {description: Where it comes from., type: str, returned: always}
remedy: {description: The remedy that was applied., type: str, returned: always}
rows_examined: {description: Rows that its query looks at., type: int, returned: always}
rows_found: {description: Rows that were wrong., type: int, returned: always}
reasons: {description: Number of rows by reason., type: dict, returned: always}
rows: {description: The first rows., type: list, elements: dict, returned: always}
rows_changed: {description: Rows that were changed., type: int, returned: always}
rows_archived: {description: "Rows that were archived, with those that went along.", type: int, returned: always}
rows_left: {description: Rows that are still wrong., type: int, returned: always}
work_list: {description: The work list that was written., type: str, returned: always}
repair_id: {description: By this the journal and the archive know the repair., type: str, returned: always}
issues: {description: The diagnoses., type: list, elements: dict, returned: always}
left_in_the_way:
  description: Issues with rows that would stop the migration (the plan's C(in_the_way)), with their number.
  type: list
  elements: str
  returned: always
summary: {description: All of it in lines for the screen., type: list, elements: str, returned: always}
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
