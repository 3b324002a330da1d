#!/usr/bin/python
"""Restore rows that a migration, a repair or a compatibility trigger has archived."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore_archived
short_description: Restore archived rows to their tables
description:
  - Selects rows of the plan's archive by id, by reason or by the repair or run that archived them, and inserts them in
    that order in one transaction. A restored row leaves the archive; the journal records the restore.
  - A row that cannot be restored stays archived, with the reason (its parent is missing, its key exists, a constraint
    refuses it). The module fails if it can restore none.
  - Without a selection it lists the archive.
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
    description: Values by column that replace the archived ones.
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
repair_id: {description: Id of the restore in the journal., type: str, returned: always}
archived: {description: "The archive, if nothing is restored.", type: list, elements: dict, returned: always}
rows_examined: {description: Archived rows that were selected., type: int, returned: always}
rows_restored: {description: Number of restored rows., type: int, returned: always}
restored: {description: "Restored rows, by archive id.", type: list, elements: dict, returned: always}
refused: {description: "Rows that stay archived, each with C(why).", type: list, elements: dict, returned: always}
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
    """List or restore archived rows."""
    return restore_archived(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY)


if __name__ == "__main__":
    main()
