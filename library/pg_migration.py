#!/usr/bin/python
"""Apply or revert one migration of a plan."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_migration
short_description: Apply or revert exactly one migration of a plan
description:
  - Runs the steps of one migration file, each in a transaction of its own together with its row in the journal
    (schema C(migration_runbook)), then the migration's checks, then writes the version to
    C(supabase_migrations.schema_migrations). With O(state=reverted) it runs the revert file and removes the version.
  - Steps that an earlier call finished are not run again, and a backfill resumes after its last committed batch.
  - Refuses a version whose predecessor in the plan is not applied (or, when reverting, whose successor is), an applied
    migration whose file was edited since, and a journal that disagrees with the migration history.
  - Works without the roles. With O(run), the module requires that the run's journal records an environment
    verification, a verified backup and a data snapshot.
  - If a migration is already in the given state, its checks are not run; M(pg_verify) runs them at any time.
  - Before its first step, in either direction, it surveys the tables that the plan writes, as M(pg_environment_info)
    does.
options:
  version:
    description: Version of the migration, 14 digits.
    type: str
    required: true
  state:
    description: The state of the migration after the call.
    type: str
    choices: [applied, reverted]
    default: applied
  volume_class:
    description: Name of the plan's volume class, for the expected minutes; empty if it is unknown.
    type: str
    default: ""
  snapshot_counts:
    description:
      - Counts of the data snapshot by name, for checks that may find nothing to examine. Without it they are taken
        from the data snapshot that the run's C(snapshot_taken) event names, where there is one.
    type: dict
    default: {}
  limits:
    description: Limits of waiting, and how rows are moved.
    type: dict
    suboptions:
      lock_timeout_seconds:
        description:
          - How long a statement that blocks the application may wait for its lock, in seconds.
          - If a step locks several tables, those after the first get a tenth of this time. If autovacuum blocks the
            lock, the next attempt waits 0.2 s longer than C(deadlock_timeout), after which autovacuum is cancelled.
        type: float
        default: 0.5
      lock_attempts:
        description: Number of attempts of a step whose locks are refused.
        type: int
        default: 30
      lock_attempts_limit_seconds:
        description: Longest time for all attempts of a step, in seconds.
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
          - Number of failures (lock, deadlock, timeout) after which a batch is halved, down to a single row, which is
            tried for O(limits.lock_attempts_limit_seconds). A row that the database refuses is found the same way.
        type: int
        default: 3
      batch_rows:
        description: Rows of the first batch; 0 uses the plan's number.
        type: int
        default: 0
      batch_rows_least:
        description: Smallest number of rows of a tuned batch.
        type: int
        default: 100
      batch_rows_most:
        description: Largest number of rows of a tuned batch.
        type: int
        default: 5000
      batch_budget_milliseconds:
        description: Target duration of a batch, in milliseconds. Its rows are locked for this time.
        type: float
        default: 25.0
      give_way_ratio:
        description:
          - While a health signal is at its level C(slow), a worker rests after each batch for this multiple of the
            batch's duration (at most of O(limits.batch_budget_milliseconds)). 0 never rests.
        type: float
        default: 2.0
      workers:
        description:
          - Sessions that move rows. 0 chooses the number of cores (at most 4) if the server runs on this machine, else
            2, and never more than a quarter of the free connections.
        type: int
        default: 0
      range_rows:
        description: Approximate number of keys in a range, the unit of work of a worker; fewer in a small table.
        type: int
        default: 10000
      pause_limit_seconds:
        description: Longest pause for the server's health, in seconds. After it the call stops and can be resumed.
        type: float
        default: 3600.0
      postpone_limit_seconds:
        description: Longest pause by the operator or for a postponed contract, in seconds.
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
      - Levels of each signal at which workers rest after each batch (C(slow)), batches wait (C(pause)) and the call
        ends (C(abort)); null means never. Omitted levels have their defaults.
      - Signals are C(replica_lag_bytes) (pause 268435456), C(slot_lag_bytes) (pause 2147483648, abort 17179869184),
        C(lock_waiters) (pause 20), C(active_sessions), C(transactions_per_second) of all sessions in this database but
        the workers, autovacuum's and a monitor's among them (slow 20), C(oldest_transaction_seconds),
        C(oldest_snapshot_seconds) (pause 300),
        C(autovacuum) on the table (1; 2 is to prevent wraparound; pause 2), C(wal_bytes_per_second)
        and C(operator_query) (null turns it off).
    type: dict
    default: {}
  health_query_file:
    description: File with a health query. If it returns a row, batches pause; the first column is the reason.
    type: path
  postpone_contract:
    description:
      - Wait before the first step of a migration that the plan marks as C(contract), until M(pg_control) lets the run
        continue.
    type: bool
    default: false
  unpublish_during_backfill:
    description:
      - Remove the table from the publications that name it and publish updates, during the backfill, and restore its
        membership (column list, row filter) at the end, after a failure and after an abort. The journal records the
        membership; after a kill the next call restores it.
      - Subscribers then receive neither an event for each moved row nor the application's writes to the table.
      - Refused for a publication of all tables, of the table's schema or of its partitioned parent, and for a
        publication of another role.
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
  description: Whether the database was changed (in check mode would be changed).
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
  description: The given state, V(applied) or V(reverted). It is reached unless the call failed.
  type: str
  returned: when the plan has the version
run_id:
  description: Id of this call in the journal; generated without O(run).
  type: str
  returned: when the plan has the version
steps:
  description: The steps of the file that the call reached. Empty if there was nothing to do.
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
    attempts: {description: Number of attempts; 0 if it was not run., type: int}
    line: {description: Line of its mark in the file., type: int}
    report: {description: Long-lived blockers before the first attempt; empty without one., type: str}
rows_moved:
  description: Rows that the backfill has moved in all its batches, earlier calls included.
  type: int
  returned: when the plan has the version
batches:
  description: Number of committed batches, earlier calls included.
  type: int
  returned: when the plan has the version
publications:
  description:
    - Tables removed from a publication and restored (C(publication), C(table), C(outcome)). The outcome is V(outside)
      for a table that is not restored.
  type: list
  elements: dict
  returned: when the plan has the version
trials:
  description:
    - The newest result of each trial of the plan that is valid. A trial runs before the first step, in each step that
      changes the schema for the application, and after the last one, always in a transaction that is rolled back.
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
    tolerated: {description: Why a failure does not stop the run; empty if it does., type: str}
    statement: {description: The statement that failed., type: str}
    place: {description: File and line of that statement., type: str}
    error: {description: Error of the server., type: str}
    sqlstate: {description: The server's error code., type: str}
    context: {description: Context of the error., type: str}
    object: {description: The object that raised it., type: str}
    statements: {description: Number of statements that ran., type: int}
    rows: {description: Number of rows they affected., type: int}
    milliseconds: {description: Duration in milliseconds., type: float}
findings:
  description: Findings of the survey before the first step, as in M(pg_environment_info); empty if no step ran.
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
  description: Minimum and maximum minutes that the plan expects for the volume class; empty if unknown or reverting.
  type: list
  elements: float
  returned: when the plan has the version
judged:
  description: V(faster), V(within) or V(slower) than expected, or V(unknown). A revert is not judged.
  type: str
  returned: when the plan has the version
summary:
  description: Lines for the screen about what was done.
  type: list
  elements: str
  returned: when the plan has the version
missing_phases:
  description: Phases that the run's journal lacks.
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
