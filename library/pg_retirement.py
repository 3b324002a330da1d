#!/usr/bin/python
"""Drop the compatibility with the old application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_retirement
short_description: Drop the compatibility with the old application
description:
  - Runs the plan's retirement file, once the change log shows no write of the old application for O(quiet_days). The
    plan defines such a write.
  - Refused while a run is open, before the plan's last migration, and if the log is incomplete.
options:
  quiet_days:
    description: For how many days the old application must not have written.
    type: float
    default: 14.0
  without_log:
    description: Retire although no change log shows whether the old application still writes.
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
    description: Reports in a read-only transaction whether it would be retired.
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Drop the compatibility
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
retired: {description: Whether the compatibility was dropped., type: bool, returned: always}
repair_id: {description: Id in the journal., type: str, returned: always}
writes: {description: Writes of the old application in the log., type: int, returned: always}
last_at: {description: Time of the last one; null without one., type: str, returned: always}
last_row: {description: Row of the last one., type: str, returned: always}
rows_examined: {description: Logged changes that were examined., type: int, returned: always}
watched_since: {description: Time since which all tables have been logged., type: str, returned: always}
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
    """Drop the compatibility, or refuse."""
    return retire(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY, shows_message=True)


if __name__ == "__main__":
    main()
