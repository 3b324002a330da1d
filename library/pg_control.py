#!/usr/bin/python
"""Control the open run from a second terminal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_control
short_description: Pause, resume, abort or tune the open run while it works
description:
  - Writes the run's row in C(migration_runbook.control). The run reads it before each batch, so a change takes effect
    within one batch. The run records the applied change in the journal, and this module waits for the record.
  - Works while a migration runs and does not use its lease. Repeating what is in force changes nothing.
options:
  control:
    description:
      - V(pause) makes batches wait, V(resume) lets them continue. V(abort) ends the current call of the run (it can be
        resumed) and requires O(run_id). V(set) changes values.
    type: str
    required: true
  run_id:
    description: Id of the run. Required to abort. It must be the id of the open run.
    type: str
    default: ""
  batch_rows:
    description:
      - Rows per batch, 1 to 100000. The run no longer tunes the value; V(0) returns it to the run.
      - With O(command=set).
    type: int
  batch_budget_milliseconds:
    description: Target duration of a batch, 1 to 60000. V(0) returns the value to the run. With O(command=set).
    type: float
  workers:
    description: Number of connections that move rows, 1 to 32. V(0) returns it to the run. With O(command=set).
    type: int
  slow_at:
    description: The same as O(pause_at), for the level at which workers rest after each batch.
    type: dict
  pause_at:
    description:
      - Health signals to the level at which batches wait, for example C(replica_lag_bytes=64MB,lock_waiters=20).
      - A level is a number with an optional unit, V(never), or V(default) for the run's own. Others keep their levels.
      - Signals are C(replica_lag_bytes), C(slot_lag_bytes), C(lock_waiters), C(active_sessions),
        C(transactions_per_second), C(oldest_transaction_seconds), C(oldest_snapshot_seconds), C(autovacuum),
        C(wal_bytes_per_second) and C(operator_query).
    type: dict
  abort_at:
    description: The same for the level at which the run stops. It can be resumed.
    type: dict
  postpone_contract:
    description: Whether the run waits before the plan's contract step. V(false) lets it continue. With O(command=set).
    type: bool
  wait_seconds:
    description: How long to wait until the run has applied the change, in seconds. V(0) does not wait.
    type: float
    default: 30.0
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    description: Reads what is in force and reports what would be; writes nothing.
    support: full
  diff_mode:
    description: Shows what is in force before and after.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Let the application have the server to itself for a while
  pg_control:
    connection: "{{ database_connection }}"
    control: pause

- name: Smaller batches, and wait earlier for the replicas
  pg_control:
    connection: "{{ database_connection }}"
    control: set
    batch_rows: 500
    pause_at: {replica_lag_bytes: 16MB}

- name: End the run's present call
  pg_control:
    connection: "{{ database_connection }}"
    control: abort
    run_id: 20250122T101500Z-3f9a1c
"""

RETURN = r"""
changed:
  description: Whether what is in force has changed (in check mode would change).
  type: bool
  returned: always
run_id:
  description: The open run.
  type: str
  returned: success
before:
  description: What was in force (C(command), C(batch_rows), C(batch_budget_milliseconds), C(workers), C(levels),
    C(postpone_contract), C(revision), C(changed_by), C(changed_at)); null means the value that the run started with.
  type: dict
  returned: success
control:
  description: What is in force now, as in RV(before).
  type: dict
  returned: success
revision:
  description: Number of the change that is in force.
  type: int
  returned: success
working:
  description: Whether a run is working now. Otherwise the next start reads the change.
  type: bool
  returned: success
acknowledged:
  description: Whether the run has applied the change.
  type: bool
  returned: success
acknowledged_seconds:
  description: Seconds between the change and its application, by the server's clock; null if the change is not applied.
  type: float
  returned: success
summary:
  description: Lines for the screen. What was replaced, what is in force, and whether it is applied.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.runbook.control.command import give_command
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "control": {"type": "str", "required": True},
        "run_id": {"type": "str", "default": ""},
        "batch_rows": {"type": "int"},
        "batch_budget_milliseconds": {"type": "float"},
        "workers": {"type": "int"},
        "slow_at": {"type": "dict"},
        "pause_at": {"type": "dict"},
        "abort_at": {"type": "dict"},
        "postpone_contract": {"type": "bool"},
        "wait_seconds": {"type": "float", "default": 30.0},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Apply the command to the open run."""
    return give_command(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
