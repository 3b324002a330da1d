#!/usr/bin/python
"""Apply or revert one migration of a plan."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_migration
short_description: Apply or revert exactly one migration of a plan
description:
  - Runs the steps of one migration file, each in a transaction of its own together with its row in the journal
    (schema C(migration_runbook)), then the migration's checks, then writes the version to
    C(supabase_migrations.schema_migrations). With O(state=reverted) it runs the revert file and takes the version out.
  - Steps that an earlier call has finished are not run again, and a backfill goes on after its last committed batch.
  - Refuses a version whose predecessor in the plan is not applied (or, when reverting, whose successor is), an applied
    migration whose file was edited since, and a journal that disagrees with the migration history.
  - Works without any of our roles. Give O(run) to have it enforced that the run's journal holds an environment
    verification, a verified backup and a data snapshot.
  - The checks of a migration that is already in the wanted state are not run; M(pg_verify) runs them at any time.
  - Before its first step, in either direction, it surveys the tables that the plan writes, as M(pg_environment_info)
    does.
options:
  version:
    description: Version of the migration, 14 digits.
    type: str
    required: true
  state:
    description: What the migration should be afterwards.
    type: str
    choices: [applied, reverted]
    default: applied
  volume_class:
    description: Name of the plan's volume class that the expected minutes are taken from; empty when it is unknown.
    type: str
    default: ""
  snapshot_counts:
    description:
      - Counts of the data snapshot by name, for checks that may find nothing to examine. Without it they are taken
        from the data snapshot that the run's C(snapshot_taken) event names, where there is one.
    type: dict
    default: {}
  limits:
    description: How long and how often the migration may wait.
    type: dict
    suboptions:
      lock_timeout_seconds:
        description:
          - How long a statement that makes the application wait may wait for a lock itself, in seconds.
          - Of several tables that a step locks, those after the first get a tenth of it. When autovacuum is in the
            way, the next attempt waits 0.2 s longer than the server's C(deadlock_timeout), when autovacuum gives way.
        type: float
        default: 0.5
      lock_attempts:
        description: How often a step is tried whose locks are refused.
        type: int
        default: 30
      lock_attempts_limit_seconds:
        description: How long all attempts of a step may take together, in seconds.
        type: float
        default: 300.0
      lock_pause_seconds:
        description: Pause between two attempts, in seconds, in which the queue behind the lock drains.
        type: float
        default: 1.0
      statement_timeout_seconds:
        description: How long one statement of a transactional step may run, in seconds.
        type: float
        default: 600.0
      long_step_limit_seconds:
        description: How long a CONCURRENTLY, VACUUM or VALIDATE step may take, in seconds. No lock_timeout applies.
        type: float
        default: 7200.0
      batch_lock_timeout_seconds:
        description: How long a batch may wait for a lock, in seconds. Keep it well below C(deadlock_timeout).
        type: float
        default: 0.2
      batch_timeout_seconds:
        description: How long one batch may take, in seconds.
        type: float
        default: 60.0
      batch_attempts:
        description:
          - After so many failures (a lock, a deadlock, its timeout) a batch is halved, down to a single row, which is
            tried for O(limits.lock_attempts_limit_seconds). A row that the database refuses is found the same way.
        type: int
        default: 3
      batch_rows:
        description: Rows of the first batch; 0 takes the plan's number.
        type: int
        default: 0
      batch_rows_least:
        description: The size of a batch is tuned to no fewer rows.
        type: int
        default: 100
      batch_rows_most:
        description: The size of a batch is tuned to no more rows.
        type: int
        default: 5000
      batch_budget_milliseconds:
        description: How long a batch should take, in milliseconds. Its rows are locked that long.
        type: float
        default: 25.0
      give_way_ratio:
        description:
          - While a health signal is at its level C(slow), a worker rests after each batch so many times as long as the
            batch took (as O(limits.batch_budget_milliseconds) at most). 0 never rests.
        type: float
        default: 2.0
      workers:
        description:
          - Sessions that move rows. 0 takes what suits the server, by its cores where it runs on this machine (at most
            4), 2 elsewhere, and no more than a quarter of the connections that are free.
        type: int
        default: 0
      range_rows:
        description: About so many keys make a range, which one worker takes at a time; fewer in a small table.
        type: int
        default: 10000
      pause_limit_seconds:
        description: A pause for the server's health that lasts longer, in seconds, stops the call. It can be resumed.
        type: float
        default: 3600.0
      postpone_limit_seconds:
        description: How long a pause of the operator or a postponed contract is waited for, in seconds.
        type: float
        default: 86400.0
  strategy:
    description:
      - V(online) moves rows in batches while the application works.
      - V(offline) is for an announced window with the application stopped. The backfill is the plan's C(offline)
        function in one transaction, where the plan has one, and indexes are built without CONCURRENTLY.
    type: str
    choices: [online, offline]
    default: online
  health_levels:
    description:
      - By signal, the levels at which workers give way (C(slow)), at which batches C(pause) and at which the call ends
        (C(abort)); null is never. What is left out has its default.
      - Signals are C(replica_lag_bytes) (pause 268435456), C(slot_lag_bytes) (pause 2147483648, abort 17179869184),
        C(lock_waiters) (pause 20), C(active_sessions), C(transactions_per_second) of all sessions in this database but
        the workers, autovacuum's and a monitor's among them (slow 20), C(oldest_transaction_seconds),
        C(oldest_snapshot_seconds) (pause 300),
        C(autovacuum) on the table (1; 2 is to prevent wraparound; pause 2), C(wal_bytes_per_second)
        and C(operator_query) (null turns it off).
    type: dict
    default: {}
  health_query_file:
    description: File of a query whose first column, where it returns a row, is a reason to pause.
    type: path
  postpone_contract:
    description:
      - Wait before the first step of a migration that the plan marks as C(contract), until M(pg_control) says
        otherwise.
    type: bool
    default: false
  unpublish_during_backfill:
    description:
      - Take the backfill's table out of the publications that name it and publish updates, for the time of the
        backfill, and put it back as it was (column list, row filter) at its end, after a failure and after an abort.
        What was taken out stands in the journal; after a kill the next call puts it back.
      - Subscribers are spared an event per moved row, and see nothing of what the application writes to the table
        meanwhile.
      - Refused for a publication of all tables, of the table's schema, of a table that it is a partition of, or that
        belongs to another role.
    type: bool
    default: false
extends_documentation_fragment:
  - runbook_accept
  - runbook_connection
  - runbook_plan
  - runbook_plan_settings
  - runbook_progress_file
  - runbook_result_file
  - runbook_run
attributes:
  check_mode:
    description: >-
      Reads in a read-only session and lists the steps that would run; with C(--diff) their SQL. No trial runs.
    support: full
  diff_mode:
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Apply one migration, without a run
  pg_migration:
    connection: "{{ database_connection }}"
    plan: "{{ plan_info.plan }}"
    version: "20250301000000"

- name: Apply it as part of a run, with a shorter lock_timeout
  pg_migration:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    version: "20250301000000"
    plan_settings: {new_orders_are_public: true}
    run: {id: "{{ run.id }}", plan_hash: "{{ run.plan_hash }}"}
    limits: {lock_timeout_seconds: 0.2}

- name: Undo it
  pg_migration:
    connection: "{{ database_connection }}"
    plan: "{{ plan_info.plan }}"
    version: "20250301000000"
    state: reverted
"""

RETURN = r"""
changed:
  description: Whether the database was (in check mode would be) changed.
  type: bool
  returned: always
version:
  description: As given.
  type: str
  returned: when the plan has the version
name:
  description: Name of the migration.
  type: str
  returned: when the plan has the version
title:
  description: Title of the migration.
  type: str
  returned: when the plan has the version
state:
  description: The wanted state, V(applied) or V(reverted). It is reached unless the call failed.
  type: str
  returned: when the plan has the version
run_id:
  description: Id under which the journal holds this call; made up when no O(run) was given.
  type: str
  returned: when the plan has the version
steps:
  description: Each step of the file, as far as the call came. Empty when there was nothing to do.
  type: list
  elements: dict
  returned: when the plan has the version
  contains:
    number: {description: Place in the file from 1., type: int}
    name: {description: From the step's mark., type: str}
    kind: {description: "V(transaction), V(concurrently), V(validate) or V(backfill).", type: str}
    status:
      description: >-
        V(done) by this call, V(done_before) by an earlier one, V(already_present) for a valid index with the same
        definition, V(would_run) in check mode.
      type: str
    seconds: {description: Duration in seconds., type: float}
    attempts: {description: How often it was tried; 0 when it was not run., type: int}
    line: {description: Line of its mark in the file., type: int}
    report: {description: Long-lived sessions in its way before the first try; empty where there were none., type: str}
rows_moved:
  description: Rows that the backfill has moved in all its batches, earlier calls included.
  type: int
  returned: when the plan has the version
batches:
  description: Number of committed batches that count, earlier calls included.
  type: int
  returned: when the plan has the version
publications:
  description:
    - What was taken out of a publication and put back (C(publication), C(table), C(outcome)). The outcome is
      V(outside) where it still is.
  type: list
  elements: dict
  returned: when the plan has the version
trials:
  description:
    - The newest result of each trial of the plan that is valid. A trial runs before the first step, in each step that
      changes what the application meets, and after the last one; always in a transaction that is rolled back.
  type: list
  elements: dict
  returned: when the plan has the version
  contains:
    name: {description: Name of the trial., type: str}
    title: {description: What the application does., type: str}
    by: {description: "V(old) or V(new) application.", type: str}
    role: {description: Role that sends the statements., type: str}
    outcome: {description: "V(passed), V(failed), V(not_examined) or V(nothing_to_examine).", type: str}
    why: {description: Why it did not pass., type: str}
    tolerated: {description: Why a failure does not stop the run; empty where it does., type: str}
    statement: {description: The statement that failed., type: str}
    place: {description: File and line of that statement., type: str}
    error: {description: What the server said., type: str}
    sqlstate: {description: The server's error code., type: str}
    context: {description: Where the error was raised., type: str}
    object: {description: The object that raised it., type: str}
    statements: {description: How many statements ran., type: int}
    rows: {description: How many rows they affected., type: int}
    milliseconds: {description: How long it took., type: float}
findings:
  description: What the survey before the first step found, as M(pg_environment_info) returns it; empty without a step.
  type: list
  elements: dict
  returned: when the plan has the version
checks:
  description: Result of each check of the migration, as M(pg_verify) returns it in RV(pg_verify#module:results).
  type: list
  elements: dict
  returned: when the plan has the version
seconds:
  description: Duration of this call in seconds.
  type: float
  returned: when the plan has the version
volume_class:
  description: As given, or from the run's C(environment_verified) event (C(volume.class)).
  type: str
  returned: when the plan has the version
expected_minutes:
  description: Least and most minutes that the plan expects for the volume class; empty when it has none, or reverting.
  type: list
  elements: float
  returned: when the plan has the version
judged:
  description: V(faster), V(within) or V(slower) than expected, or V(unknown). A reverse is not judged.
  type: str
  returned: when the plan has the version
summary:
  description: What was done, line by line, for the screen.
  type: list
  elements: str
  returned: when the plan has the version
missing_phases:
  description: What the run's journal lacks.
  type: list
  elements: str
  returned: when the run is not ready
"""

from typing import Any

from ansible.module_utils.runbook.environment.survey.accept import accept_argument
from ansible.module_utils.runbook.locking.limits import Limits
from ansible.module_utils.runbook.migration.migrate import migrate
from ansible.module_utils.runbook.module import (
    connection_argument,
    progress_file_argument,
    result_file_argument,
    run,
    run_argument,
)


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "version": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["applied", "reverted"], "default": "applied"},
        "plan_settings": {"type": "dict", "default": {}},
        "run": run_argument(),
        "volume_class": {"type": "str", "default": ""},
        "snapshot_counts": {"type": "dict", "default": {}},
        "limits": Limits.argument(),
        "strategy": {"type": "str", "choices": ["online", "offline"], "default": "online"},
        "health_levels": {"type": "dict", "default": {}},
        "health_query_file": {"type": "path"},
        "postpone_contract": {"type": "bool", "default": False},
        "unpublish_during_backfill": {"type": "bool", "default": False},
        "accept": accept_argument(),
        "progress_file": progress_file_argument(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Apply or revert the migration."""
    return migrate(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
