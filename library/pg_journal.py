#!/usr/bin/python
"""Open, write and close a run in the journal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_journal
short_description: Open a run in the journal, record what it has done, close it
description:
  - The journal (schema C(migration_runbook)) says how far each run got. It is made by the first call that opens a run,
    and every right on it is taken from PUBLIC, C(anon), C(authenticated) and C(service_role).
  - A database has at most one open run, and it keeps its id until it is closed. Opening it again returns it, so an
    interrupted run goes on under its id and with its directory.
  - Other modules ask the journal before they change anything (see M(pg_migration), O(pg_migration#module:run)).
options:
  state:
    description:
      - V(run_opened) opens a run, or returns the open one. Refused when the open one has another plan hash. With
        O(phase), that event is written too.
      - V(run_reopened) opens a complete run again, to reverse it; refused for one that is rolled back.
      - V(recorded) writes an event, unless the newest event of its phase says the same.
      - V(run_closed) ends the run. With O(phase), that event is written too.
    type: str
    choices: [run_opened, run_reopened, recorded, run_closed]
    required: true
  plan_name:
    description: Name of the plan. Required to open a run.
    type: str
    default: ""
  phase:
    description:
      - Phase of an event. Migrations ask for C(environment_verified), C(backup_verified) and C(snapshot_taken).
      - Required with O(state=recorded).
    type: str
    default: ""
  status:
    description: Status of an event. Only V(ok) lets migrations run.
    type: str
    default: ok
  details:
    description: What else to keep with an event. No secrets.
    type: dict
    default: {}
  run_state:
    description: How the run ended. Used with O(state=run_closed).
    type: str
    choices: [complete, complete_with_warnings, rolled_back]
    default: complete
extends_documentation_fragment: [runbook_connection, runbook_result_file, runbook_run.opened]
attributes:
  check_mode:
    description: Nothing is written. V(run_opened) returns the open run, or a would-be id with an empty directory.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Open a run, or go on with the open one
  pg_journal:
    connection: "{{ database_connection }}"
    state: run_opened
    run: {plan_hash: "{{ plan_info.plan_hash }}", directory: /var/lib/runbook/orders}
    plan_name: orders_split
  register: opened

- name: Record that the backup was verified
  pg_journal:
    connection: "{{ database_connection }}"
    state: recorded
    run: {id: "{{ opened.run.id }}"}
    phase: backup_verified
    details: {bytes: 1048576}

- name: End the run
  pg_journal:
    connection: "{{ database_connection }}"
    state: run_closed
    run: {id: "{{ opened.run.id }}"}
"""

RETURN = r"""
changed:
  description: Whether the journal was (in check mode would be) written.
  type: bool
  returned: always
resumed:
  description: Whether the run was open before this call.
  type: bool
  returned: success
run:
  description: The run.
  type: dict
  returned: success
  contains:
    id: {description: Id; sorts by time., type: str}
    plan: {description: Name of the plan., type: str}
    plan_hash: {description: Hash of the plan's files., type: str}
    environment: {description: Environment., type: str}
    host: {description: Inventory host., type: str}
    state: {description: "V(open), V(complete), V(complete_with_warnings) or V(rolled_back).", type: str}
    directory: {description: Directory of the run; empty in check mode when the run is not open., type: str}
    started_at: {description: ISO 8601; null when the run is not open., type: str}
    finished_at: {description: ISO 8601; null while the run is open., type: str}
"""

from typing import Any

from ansible.module_utils.runbook.journal.call import write_journal
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run, run_argument


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "state": {"type": "str", "choices": ["run_opened", "run_reopened", "recorded", "run_closed"], "required": True},
        "run": run_argument(opened=True),
        "plan_name": {"type": "str", "default": ""},
        "phase": {"type": "str", "default": ""},
        "status": {"type": "str", "default": "ok"},
        "details": {"type": "dict", "default": {}},
        "run_state": {
            "type": "str",
            "choices": ["complete", "complete_with_warnings", "rolled_back"],
            "default": "complete",
        },
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write what the option state requests."""
    return write_journal(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
