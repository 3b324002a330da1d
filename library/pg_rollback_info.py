#!/usr/bin/python
"""List the rollback methods of a run, and what each would lose."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_rollback_info
short_description: Say which ways back there are from a run, and what each would lose
description:
  - Reads the journal, the history, the change log and the run's directory, and judges each method, V(reverse),
    V(restore) and V(forward_fix). With O(method) it fails where that one is not possible now, with the reason and
    what to type.
  - V(reverse) asks the plan's queries (C(rollback.new_application_writes)) whether the new application wrote lately.
  - Only reads.
options:
  run:
    description: The run as M(pg_run_info) returns it.
    type: dict
    required: true
  method:
    description: The method that must be possible. Empty only looks.
    type: str
    choices: ["", reverse, restore, forward_fix]
    default: ""
  rollback_to:
    description: The version that stays applied. Empty undoes all.
    type: str
    default: ""
  quiet_seconds:
    description: How long the new application must not have written, in seconds.
    type: int
    default: 60
  application_stopped:
    description: The operator says that the new application is stopped. The change log is not asked then.
    type: bool
    default: false
extends_documentation_fragment: [runbook_connection, runbook_plan, runbook_result_file]
attributes:
  check_mode:
    support: full
    details: Only reads.
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Whether the run can be reversed down to its second migration
  pg_rollback_info:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    run: "{{ run }}"
    method: reverse
    rollback_to: "20260301000001"
"""

RETURN = r"""
lines:
  description: The assessment in words; the last line is what to type.
  returned: success
  type: list
  elements: str
methods:
  description: The methods, the recommended one first.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: The method., type: str}
    possible: {description: Whether it is possible now., type: bool}
    why_not: {description: Why not., type: str}
    next_command: {description: What to type then., type: str}
    loses: {description: "What would be lost, in words.", type: str}
    seconds: {description: "How long it takes, from measured times; null where none were.", type: float}
recommended:
  description: The first method that is possible; empty where none is.
  returned: success
  type: str
to_revert:
  description: Versions that V(reverse) would undo, newest first.
  returned: success
  type: list
  elements: str
half_reverted:
  description: Those of them whose way back has begun and is not through.
  returned: success
  type: list
  elements: str
restored:
  description: Whether the run's backup is restored already, by a command that was killed before it closed the run.
  returned: success
  type: bool
rows_of_others:
  description: >-
    Foreign keys through which a reverse would delete, change or leave pointing at nothing rows of tables that are not
    its own. It is refused while there are any.
  returned: success
  type: list
  elements: dict
  contains:
    table: {description: The table whose rows reference., type: str}
    key: {description: The foreign key., type: str}
    columns: {description: Its columns., type: list, elements: str}
    changed: {description: The table of the plan that they reference in the end., type: str}
    through: {description: "Tables between, whose rows would be deleted or changed first.", type: list, elements: str}
    effect:
      description: >-
        What would happen to the rows, V(delete), V(set null), V(set default), V(update), V(refuse) (the reverse would
        fail) or V(dangle) (they would point at nothing).
      type: str
    rows: {description: "How many; null where this role may not read all of them.", type: int}
    remedy: {description: "A statement that shows them, or what lets this role count them.", type: str}
new_application_writes:
  description: The newest writes of the new application, by the plan's queries.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.rollback.assess import assess


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "run": {"type": "dict", "required": True},
        "method": {"type": "str", "choices": ["", "reverse", "restore", "forward_fix"], "default": ""},
        "rollback_to": {"type": "str", "default": ""},
        "quiet_seconds": {"type": "int", "default": 60},
        "application_stopped": {"type": "bool", "default": False},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Assess the rollback methods."""
    return {**assess(params), "changed": False}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
