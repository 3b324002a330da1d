#!/usr/bin/python
"""Find everything that could block a migration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_environment_info
short_description: Find everything that blocks a migration
description:
  - Examines the server, the connected role, other sessions, the plan's tables, replication, the migration history and
    the data, and reports every finding with its harm and the command or action that repairs it.
  - Reads in one REPEATABLE READ, READ ONLY transaction that is rolled back. Where possible, privileges are tried in
    this transaction, not inferred.
  - Surveys every table that the plan writes for what the plan does not know, and evaluates unknown unique indexes,
    CHECKs and foreign keys over the rows that the plan will create. Where only the server can judge a row (triggers,
    exclusion constraints, domains), up to 20 rows are inserted in another transaction that is always rolled back; it
    leaves dead rows, used sequence values and WAL. In check mode nothing is inserted.
  - Runs the plan's trials, the statements that the application sends, in transactions that are rolled back. A failed
    trial is a warning. In check mode no trial runs.
  - If a finding is blocking, the module fails after all examinations with every finding in the message.
options:
  expected:
    description: The server and database that the operator expects.
    type: dict
    default: {}
    suboptions:
      system_identifier:
        description: The server's system identifier, from its control file. Empty if it is not pinned.
        type: str
        default: ""
      database:
        description: Name of the database. Empty if it is not pinned.
        type: str
        default: ""
      pins_required:
        description: Whether a missing pin is a blocking finding.
        type: bool
        default: false
      inventory_file:
        description: The inventory file for the pins, for the message.
        type: str
        default: ""
  thresholds:
    description: Thresholds of the findings.
    type: dict
    default: {}
    suboptions:
      long_transaction_seconds:
        description: A transaction that has been open for longer is a blocking finding.
        type: int
        default: 300
      old_snapshot_seconds:
        description: A snapshot that has been held for longer is a warning.
        type: int
        default: 300
      slot_lag_bytes:
        description: A replication slot that is further behind is a warning, in bytes.
        type: int
        default: 1073741824
      minimum_free_disk_bytes:
        description: Smallest free disk space, in bytes. Twice the size of the plan's tables is required in any case.
        type: int
        default: 0
  accepted_versions:
    description: Applied versions that the plan does not know and that the operator has checked.
    type: list
    elements: str
    default: []
  unpublish_during_backfill:
    description: Whether M(pg_migration) will remove the table from its publications. If so, verify that it can.
    type: bool
    default: false
  drill:
    description: The restore drill of the backup.
    type: dict
    default: {}
    suboptions:
      wanted:
        description: Whether the backup will be drilled. Each unmet requirement is a finding.
        type: bool
        default: false
      elsewhere:
        description: Whether the scratch database is on another server, whose extensions are unknown.
        type: bool
        default: false
      prerequisites_file:
        description: SQL that creates what cannot be derived. See M(pg_restore_drill).
        type: path
  statement_timeout_seconds:
    description: Longest time for one query of an examination, in seconds.
    type: int
    default: 300
  fail_on_blocking:
    description: Fail if a finding is blocking. With V(false), the findings are only returned.
    type: bool
    default: true
extends_documentation_fragment:
  - runbook_accept
  - runbook_connection
  - runbook_connection.scratch
  - runbook_disk
  - runbook_plan
  - runbook_plan_settings
  - runbook_reading
  - runbook_result_file
  - runbook_tls
  - runbook_tools
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Read the plan
  pg_plan_info:
    plan_directory: sql/orders_split
  register: plan_info

- name: Find what blocks the migration
  pg_environment_info:
    connection: "{{ database_connection }}"
    plan: "{{ plan_info.plan }}"
    plan_settings:
      keep_old_column: true
    expected:
      system_identifier: "7381546216742381653"
      database: shop
      pins_required: true
"""

RETURN = r"""
summary:
  description: Every finding, for the screen.
  returned: success
  type: list
  elements: str
findings:
  description: Every finding, blocking ones first.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: "Kind of finding, or name of the plan's precondition.", type: str}
    severity: {description: "V(blocking), V(warning) or V(information).", type: str}
    object: {description: The object of the finding., type: str}
    found: {description: What was found., type: str}
    harm: {description: The harm it can do., type: str}
    repair: {description: Command or action; empty if nothing has to be done., type: str}
    rows: {description: The first 20 rows or sessions concerned., type: list}
    rows_total: {description: Number of rows or sessions., type: int}
blocking:
  description: Names of the blocking findings.
  returned: always
  type: list
  elements: str
server:
  description:
    - C(version), C(major), C(system_identifier), C(database), C(user), C(is_replica), C(is_superuser), C(is_local),
      C(address), C(wal_level), C(bypasses_row_security), C(may_set_replica_role), C(role_timeout_milliseconds),
      and C(tools), the paths of the client tools by name.
  returned: always, empty when the server could not be examined
  type: dict
volume:
  description: C(rows) to move and their C(class); rows is null when they could not be counted.
  returned: always
  type: dict
applied:
  description: Versions of the plan that are applied.
  returned: always
  type: list
  elements: str
pending:
  description: Versions of the plan that are not applied, in order.
  returned: always
  type: list
  elements: str
trials:
  description: Result of each trial, as M(pg_migration) returns it.
  returned: always
  type: list
  elements: dict
disk:
  description: C(protected_tables_bytes), C(needed_bytes) and C(free_bytes); null when not known.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.runbook.database.readers import reading_arguments
from ansible.module_utils.runbook.environment.examine import examine, facts_of, refuse_blocking
from ansible.module_utils.runbook.environment.survey.accept import accept_argument
from ansible.module_utils.runbook.module import (
    connection_argument,
    disk_arguments,
    result_file_argument,
    run,
    tls_argument,
)


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    expected = {
        "system_identifier": {"type": "str", "default": ""},
        "database": {"type": "str", "default": ""},
        "pins_required": {"type": "bool", "default": False},
        "inventory_file": {"type": "str", "default": ""},
    }
    thresholds = {
        "long_transaction_seconds": {"type": "int", "default": 300},
        "old_snapshot_seconds": {"type": "int", "default": 300},
        "slot_lag_bytes": {"type": "int", "default": 1073741824},
        "minimum_free_disk_bytes": {"type": "int", "default": 0},
    }
    drill = {
        "wanted": {"type": "bool", "default": False},
        "elsewhere": {"type": "bool", "default": False},
        "prerequisites_file": {"type": "path"},
    }
    return {
        "connection": connection_argument(),
        "scratch_connection": {**connection_argument(), "required": False},
        "plan": {"type": "dict", "required": True},
        "plan_settings": {"type": "dict", "default": {}},
        "expected": {"type": "dict", "default": {}, "options": expected},
        "tls": tls_argument(),
        "thresholds": {"type": "dict", "default": {}, "options": thresholds},
        "tools_directory": {"type": "path"},
        "accepted_versions": {"type": "list", "elements": "str", "default": []},
        "unpublish_during_backfill": {"type": "bool", "default": False},
        "accept": accept_argument(),
        "drill": {"type": "dict", "default": {}, "options": drill},
        "statement_timeout_seconds": {"type": "int", "default": 300},
        "fail_on_blocking": {"type": "bool", "default": True},
        **reading_arguments(),
        **disk_arguments(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Examine everything; raise one RunbookError with all findings if one is blocking."""
    facts = examine(params, check_mode=check_mode)
    if params["fail_on_blocking"]:
        refuse_blocking(facts)
    return facts


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=facts_of([], {}), shows_message=True)


if __name__ == "__main__":
    main()
