#!/usr/bin/python
"""Restore rows that a migration, a repair or a compatibility trigger has archived."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore_archived
short_description: Bring archived rows back into their tables
description:
  - Names rows of the plan's archive by id, by reason or by who archived them, and inserts them in the order in which
    they were archived, in one transaction. A row that is back leaves the archive; the journal keeps what was done.
  - A row that cannot go back stays archived, with the reason (its parent is missing, its key is taken, a constraint
    refuses it). It is a failure when none can.
  - Without a name it lists what the archive has.
options:
  archive_ids:
    description: Only these rows of the archive.
    type: list
    elements: str
    default: []
  reason:
    description: Only rows archived for this reason.
    type: str
    default: ""
  archived_by:
    description: Only rows archived by this repair or run.
    type: str
    default: ""
  values:
    description: Values by column that take the place of the archived ones.
    type: dict
    default: {}
extends_documentation_fragment:
  - runbook_connection
  - runbook_locking
  - runbook_plan
  - runbook_progress_file
  - runbook_retry_command.restore_archived
  - runbook_result_file
  - runbook_statement_timeout
attributes:
  check_mode:
    description: Lists the rows that would be tried, in a read-only transaction.
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Bring back what one repair archived
  pg_restore_archived:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    archived_by: repair-20260101T000000Z-3f9a1c
"""

RETURN = r"""
repair_id: {description: By this the journal knows it., type: str, returned: always}
archived: {description: "What the archive has, when nothing is restored.", type: list, elements: dict, returned: always}
rows_examined: {description: Archived rows that were named., type: int, returned: always}
rows_restored: {description: Rows that are back., type: int, returned: always}
restored: {description: "Them, by archive id.", type: list, elements: dict, returned: always}
refused: {description: "Rows that stay, each with C(why).", type: list, elements: dict, returned: always}
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
from ansible.module_utils.runbook.repair.restore_archived import EMPTY, restore_archived


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "archive_ids": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
        "archived_by": {"type": "str", "default": ""},
        "values": {"type": "dict", "default": {}},
        "progress_file": progress_file_argument(),
        "locking": Locking.argument(),
        "retry_command": retry_command_argument("restore_archived"),
        "statement_timeout_seconds": {"type": "int", "default": 600},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """List, or restore."""
    return restore_archived(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY)


if __name__ == "__main__":
    main()
