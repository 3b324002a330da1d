#!/usr/bin/python
"""Take a data snapshot, or compare one with the database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_snapshot
short_description: Take a snapshot of counts, samples and row fingerprints, or compare one with the database
description:
  - With O(state=taken), reads counts, samples and fingerprints in one REPEATABLE READ, READ ONLY transaction and
    writes them to O(directory) as C(snapshot.json) and one file of row hashes per fingerprint, mode 0600.
  - A fingerprint is the number of rows and the sum of a 64-bit hash per row over the columns that the rows have when
    the snapshot is taken. It does not depend on the order of rows, and fingerprints of disjoint rows add up. A column
    added later does not change it; a column that is gone or has another type is a difference.
  - With O(state=compared), reads the same counts and fingerprints again, over the columns that were recorded, and
    fails if one does not have the required relation, naming the rows that differ.
  - Application writes that M(pg_change_log) has logged since before the snapshot are no difference, and the comparison
    stays exact for everything else.
  - A directory that already contains a snapshot is not changed (RV(ignore:changed) is false).
  - To take the snapshot in the same instant as a backup, use M(pg_backup) with its O(ignore:snapshot) option.
options:
  state:
    description: What to do.
    type: str
    choices: [taken, compared]
    default: taken
  directory:
    description: Directory of the snapshot. The module creates it with mode 0700.
    type: path
    required: true
  expectation:
    description:
      - What O(state=compared) requires. V(migration) requires each item's own relation, V(restore) that all are equal.
    type: str
    choices: [migration, restore]
    default: migration
  application_writes:
    description:
      - The application has written since the snapshot without a change log (M(pg_change_log)). Differences are returned
        and do not fail the comparison.
    type: bool
    default: false
  statement_timeout_seconds:
    description: Longest time for one query, in seconds.
    type: int
    default: 3600
  lock_timeout_seconds:
    description: How long a query waits for a locked table, in seconds.
    type: int
    default: 30
extends_documentation_fragment: [runbook_connection, runbook_reading, runbook_result_file, runbook_snapshot]
attributes:
  check_mode:
    support: full
    details: O(state=compared) also runs, because it only reads.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Record the orders before the migration
  pg_snapshot:
    connection: "{{ database_connection }}"
    directory: "{{ run.directory }}/snapshot"
    counts:
      - {name: order_count, query: "{{ playbook_dir }}/queries/count_orders.sql", after_migration: equal}
    fingerprints:
      - {name: orders, table: public.orders, key: id}

- name: Verify that no existing order has changed
  pg_snapshot:
    connection: "{{ database_connection }}"
    state: compared
    directory: "{{ run.directory }}/snapshot"
"""

RETURN = r"""
summary:
  description: What was taken or compared, for the screen.
  returned: success
  type: list
  elements: str
directory:
  description: Directory of the snapshot.
  returned: always
  type: str
taken_at:
  description: When the snapshot was taken, UTC. Empty when there is none.
  returned: always
  type: str
counts:
  description: One entry per count. After O(state=taken), C(before) and C(after) are both the value taken.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Name of the count., type: str}
    kind: {description: V(count)., type: str}
    relation: {description: The required relation., type: str}
    before: {description: Value in the snapshot., type: raw}
    after: {description: Value now., type: raw}
    by_application: {description: Change of the value by the application's writes., type: int}
    status:
      description: V(passed), V(failed) or V(information) (nothing is required, or it could not be judged).
      type: str
    explanation: {description: What is wrong or could not be judged; else empty., type: str}
counts_by_name:
  description: The snapshot's counts as name → value, fit for M(pg_verify)'s O(ignore:snapshot_counts).
  returned: always
  type: dict
samples:
  description: One entry per sample, C(name) with the rows C(before) and C(after).
  returned: always
  type: list
  elements: dict
fingerprints:
  description: One entry per fingerprint, as RV(counts); C(before) and C(after) are numbers of rows.
  returned: always
  type: list
  elements: dict
  contains:
    table: {description: "The table; null for a query's rows.", type: str}
    identical: {description: Whether the fingerprints are the same., type: bool}
    missing: {description: Number of missing rows., type: int}
    extra: {description: Number of new rows., type: int}
    changed: {description: Number of rows with other values., type: int}
    missing_keys: {description: Keys of the first 20 of them; likewise C(extra_keys) and C(changed_keys)., type: list}
change_log:
  description: Whether a change log recorded what the application wrote.
  returned: always
  type: bool
differences:
  description: The entries of RV(counts) and RV(fingerprints) that failed.
  returned: always
  type: list
  elements: dict
"""

import os
from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings
from ansible.module_utils.runbook.database.readers import for_reading, readers, reading_arguments
from ansible.module_utils.runbook.evidence import snapshot as snapshots
from ansible.module_utils.runbook.evidence.compare import compare, refuse_differences
from ansible.module_utils.runbook.evidence.snapshot import facts_of, snapshot_options, to_text
from ansible.module_utils.runbook.evidence.written_rows import open_log
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.private_files import complete_directory

FACTS: dict[str, Any] = {
    "directory": "",
    "taken_at": "",
    "counts": [],
    "counts_by_name": {},
    "samples": [],
    "fingerprints": [],
    "change_log": False,
    "differences": [],
}

IN_USE = (
    "if the application wrote meanwhile: the same command with -e application_writes=true, which reports the "
    "differences and continues; otherwise: ansible-playbook rollback.yml"
)


BEHIND_THE_LOG = (
    "check these rows: the change log does not list them as writes of the application. To accept them: "
    "the same command with -e application_writes=true; otherwise: ansible-playbook rollback.yml"
)


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "state": {"type": "str", "choices": ["taken", "compared"], "default": "taken"},
        "directory": {"type": "path", "required": True},
        **snapshot_options(),
        "application_writes": {"type": "bool", "default": False},
        "expectation": {"type": "str", "choices": ["migration", "restore"], "default": "migration"},
        "statement_timeout_seconds": {"type": "int", "default": 3600},
        "lock_timeout_seconds": {"type": "int", "default": 30},
        **reading_arguments(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Take or compare; raise one RunbookError with every result if there are differences."""
    directory = params["directory"]
    exists = os.path.lexists(directory)
    if params["state"] == "taken" and exists:
        return {**facts_of(snapshots.load(directory), directory), "msg": f"{directory} already exists"}
    if params["state"] == "taken" and check_mode:
        return {**FACTS, "changed": True, "directory": directory, "msg": f"would take a snapshot into {directory}"}
    before = snapshots.load(directory) if params["state"] == "compared" else None
    wanted = SessionSettings(
        application_name="runbook pg_snapshot",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        lock_timeout_seconds=params["lock_timeout_seconds"],
        # Fail instead of omitting rows that row-level security would hide.
        settings={"row_security": "off"},
    )
    wanted = for_reading(wanted, params["work_memory_megabytes"])
    with readers(params["connection"], wanted, params["sessions"]) as side_by_side:
        if before is None:
            with complete_directory(directory) as partial:
                parts = (params["counts"], params["samples"], params["fingerprints"])
                taken = snapshots.take(side_by_side, partial, *parts)
            facts = facts_of(taken, directory)
            return {**facts, "changed": True, "msg": f"snapshot taken into {directory}: {to_text(taken)}"}
        change_log = open_log(side_by_side.first, before)
        found = compare(
            side_by_side.first, before, directory, params["expectation"], change_log, side_by_side=side_by_side
        )
    facts = {**facts_of(before, directory), **found, "change_log": change_log is not None}
    if facts["differences"] and params["application_writes"]:
        number = len(facts["differences"])
        return {
            **facts,
            "msg": f"{number} items differ from the snapshot of {facts['taken_at']}; the application wrote",
        }
    advice = BEHIND_THE_LOG if change_log else IN_USE
    refuse_differences(facts, f"the database does not match the snapshot of {facts['taken_at']}", advice)
    return {**facts, "msg": f"the database matches the snapshot of {facts['taken_at']}: {to_text(before)}"}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS, shows_message=True)


if __name__ == "__main__":
    main()
