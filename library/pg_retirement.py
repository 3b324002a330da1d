#!/usr/bin/python
"""Remove the compatibility with the old application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_retirement
short_description: Take the compatibility with the old application away
description:
  - Runs the plan's retirement file, once the change log shows no write of the old application for O(quiet_days). What
    such a write is, the plan says.
  - Refused while a run is open, before the plan's last migration, and where the log cannot tell.
options:
  quiet_days:
    description: For how many days the old application must not have written.
    type: float
    default: 14.0
  without_log:
    description: Retire though no change log tells whether the old application still writes.
    type: bool
    default: false
extends_documentation_fragment:
  - runbook_connection
  - runbook_locking
  - runbook_plan
  - runbook_progress_file
  - runbook_result_file
  - runbook_statement_timeout
attributes:
  check_mode:
    description: Says whether it would be retired, in a read-only transaction.
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Retire what the old application needed
  pg_retirement:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    quiet_days: 30
"""

RETURN = r"""
summary:
  description: What was done, for the screen.
  returned: success
  type: list
  elements: str
retired: {description: Whether the compatibility is gone., type: bool, returned: always}
repair_id: {description: By this the journal knows it., type: str, returned: always}
writes: {description: Writes of the old application in the log., type: int, returned: always}
last_at: {description: When the last of them was made; null without one., type: str, returned: always}
last_row: {description: The row it was made to., type: str, returned: always}
rows_examined: {description: Logged changes that were looked at., type: int, returned: always}
watched_since: {description: Since when all tables are logged., type: str, returned: always}
steps: {description: Steps of the plan's file., type: list, elements: str, returned: always}
"""

from typing import Any

from ansible.module_utils.runbook.locking.limits import Locking
from ansible.module_utils.runbook.module import connection_argument, progress_file_argument, result_file_argument, run
from ansible.module_utils.runbook.repair.retire import EMPTY, retire


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "quiet_days": {"type": "float", "default": 14.0},
        "without_log": {"type": "bool", "default": False},
        "statement_timeout_seconds": {"type": "int", "default": 600},
        "progress_file": progress_file_argument(),
        "locking": Locking.argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Retire, or refuse."""
    return retire(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY, shows_message=True)


if __name__ == "__main__":
    main()
