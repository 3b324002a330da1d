#!/usr/bin/python
"""Find everything that could block a migration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_environment_info
short_description: Find everything that is in the way of a migration, all at once
description:
  - Examines the server, the connected role, other sessions, the plan's tables, replication, the migration history and
    the data, and reports every finding with what was found, why it hurts and what to type.
  - Reads in one REPEATABLE READ, READ ONLY transaction that is rolled back. Whether a right is there is tried inside
    that transaction where it can be, not inferred.
  - Surveys every table that the plan writes for what the plan does not know, and evaluates unknown unique indexes,
    CHECKs and foreign keys over the rows that the plan will create. Where only the server can say what becomes of a row
    (triggers, exclusion constraints, domains), up to 20 of them are inserted in another transaction that is always
    rolled back; what stays of it are dead rows, values of sequences and WAL. In check mode nothing is inserted.
  - Runs the plan's trials, the statements that the application sends, in transactions that are rolled back. One that
    fails is a warning. In check mode no trial runs.
  - Fails when a finding is blocking, after all examinations, with every finding in the message.
options:
  expected:
    description: Which server and database the operator means.
    type: dict
    default: {}
    suboptions:
      system_identifier:
        description: The server's system identifier, as its control file has it. Empty when it is not pinned.
        type: str
        default: ""
      database:
        description: Name of the database. Empty when it is not pinned.
        type: str
        default: ""
      pins_required:
        description: Whether a missing pin is a blocking finding.
        type: bool
        default: false
      inventory_file:
        description: The file that the pins belong into, for the message.
        type: str
        default: ""
  thresholds:
    description: When a finding is reported.
    type: dict
    default: {}
    suboptions:
      long_transaction_seconds:
        description: A transaction that is open for longer is a blocking finding.
        type: int
        default: 300
      old_snapshot_seconds:
        description: Row versions that are held for longer are a warning.
        type: int
        default: 300
      slot_lag_bytes:
        description: A replication slot that is further behind is a warning, in bytes.
        type: int
        default: 1073741824
      minimum_free_disk_bytes:
        description: Free disk space that is needed in any case, in bytes. Twice the plan's tables are needed anyway.
        type: int
        default: 0
  accepted_versions:
    description: Applied versions that the plan does not know and that the operator has looked at.
    type: list
    elements: str
    default: []
  unpublish_during_backfill:
    description: Whether M(pg_migration) will take the backfill's table out of its publications. Looks whether it can.
    type: bool
    default: false
  drill:
    description: The restore drill that will be made of the backup.
    type: dict
    default: {}
    suboptions:
      wanted:
        description: Whether there will be one. What it needs and cannot be made is a finding.
        type: bool
        default: false
      elsewhere:
        description: Whether its scratch database is made on another server, whose extensions are not known here.
        type: bool
        default: false
      prerequisites_file:
        description: SQL that makes what cannot be derived. See M(pg_restore_drill).
        type: path
  statement_timeout_seconds:
    description: Longest time for one query of an examination, in seconds.
    type: int
    default: 300
  fail_on_blocking:
    description: Fail when a finding is blocking. When V(false), the findings are returned all the same.
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

- name: Find what is in the way
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
    object: {description: What it is about., type: str}
    found: {description: What was seen., type: str}
    harm: {description: Why it hurts., type: str}
    repair: {description: What to type or do; empty where nothing is to be done., type: str}
    rows: {description: The first 20 rows or sessions it is about., type: list}
    rows_total: {description: How many there are., type: int}
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
