#!/usr/bin/python
"""Show what the journal holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_journal_info
short_description: Show runs, events, steps, batches and the lease of the journal, and the plan's progress
description:
  - Reads the journal (schema C(migration_runbook)) in one read-only transaction. Works without one; changes nothing.
  - Batches are committed one by one, so what this shows is true while a migration runs. Where one moves rows, the
    journal says how many are done of how many; the plan's progress queries, which count tables, are then left alone.
options:
  plan:
    description: The plan as M(pg_plan_info) returns it. Its progress queries are run when it is given.
    type: dict
  run_id:
    description: Run whose events, steps and batches are shown. When empty, the open run, or else the newest.
    type: str
    default: ""
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    description: Works the same; nothing is ever written to the database.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Where is the migration
  pg_journal_info:
    connection: "{{ database_connection }}"
    plan: "{{ plan_info.plan }}"
  register: journal
  until: journal.open_run.state | default('none') != 'open'
  delay: 5
  retries: 1000
"""

RETURN = r"""
changed:
  description: Always false.
  type: bool
  returned: always
exists:
  description: Whether this database has a journal.
  type: bool
  returned: success
open_run:
  description: The open run's row (C(run_id), C(plan), C(plan_hash), C(environment), C(host), C(state), C(directory),
    C(started_at), C(finished_at)); empty when none is open.
  type: dict
  returned: success
runs:
  description: The newest 50 runs, newest first, each as in RV(open_run).
  type: list
  elements: dict
  returned: success
events:
  description: Events of the run in order (C(at), C(phase), C(status), C(details)).
  type: list
  elements: dict
  returned: success
steps:
  description: Steps of the run in order (C(version), C(direction), C(step_number), C(name), C(kind), C(state),
    C(attempts), C(rows_moved), C(seconds), C(superseded_at), C(unconfirmed_at)).
  type: list
  elements: dict
  returned: success
batches:
  description: One entry per backfill of the run (C(version), C(direction), C(name), C(state), C(batches), C(rows),
    C(passes), C(first_at), C(last_at), C(milliseconds_per_batch), C(rows_per_second), C(last_batch_age_seconds)).
  type: list
  elements: dict
  returned: success
lease:
  description: Who holds or last held the right to write (C(run_id), C(holder), C(fence), C(in_use), C(acquired_at),
    C(heartbeat_at), C(heartbeat_age_seconds), C(released_at)); empty when nobody ever did.
  type: dict
  returned: success
running:
  description: What the newest step that has begun and is not done does; empty when there is none.
  type: dict
  returned: success
  contains:
    version: {description: Version of its migration., type: str}
    step: {description: Name of the step., type: str}
    kind: {description: Its kind., type: str}
    state: {description: "V(running), V(paused), or V(interrupted) when nobody works for it.", type: str}
    reason: {description: Why it is paused., type: str}
    rows_done: {description: Rows moved by committed batches; null where no rows are moved., type: int}
    rows_total: {description: Rows to move in all; null when that is unknown., type: int}
    percent: {description: Of rows_total., type: float}
    rows_per_second: {description: Rate over about half a minute without pauses., type: float}
    eta_seconds: {description: Estimated seconds to its end; null while that cannot be said., type: float}
    eta_low_seconds: {description: Least of the error band., type: float}
    eta_high_seconds: {description: Most of the error band., type: float}
    batch:
      description: Newest batch (C(after), C(upto), C(rows), C(worker), C(milliseconds), C(age_seconds)).
      type: dict
    workers: {description: Workers that committed a batch within ten seconds., type: int}
pauses:
  description: Newest 20 pauses of the run (C(version), C(signal), C(reason), C(started_at), C(ended_at), C(open),
    C(seconds)), newest first.
  type: list
  elements: dict
  returned: success
control:
  description: What an operator has put in force for the run, as M(pg_control) returns it; its C(revision) is 0 where
    nobody said anything.
  type: dict
  returned: success
activity:
  description: Sessions of the runbook that work right now (C(pid), C(application), C(query), C(seconds), C(phase) and
    C(percent) of an index, VACUUM or ANALYZE, C(blocked_by) with the sessions that it waits for).
  type: list
  elements: dict
  returned: success
summary:
  description: All of this in lines, for the screen.
  type: list
  elements: str
  returned: success
progress:
  description: One entry per progress query of the plan; empty without O(plan).
  type: list
  elements: dict
  returned: success
  contains:
    version: {description: Version of the migration., type: str}
    title: {description: Its title., type: str}
    applied: {description: Whether it is applied., type: bool}
    row: {description: The query's row; empty when it was not asked or refused., type: dict}
    rows_done: {description: From the row; null when it does not say., type: int}
    rows_total: {description: From the row; null when it does not say., type: int}
    percent: {description: Of rows_total; null when it is unknown., type: float}
    problem:
      description: >-
        Why there is no row: V(nothing moved yet) until its migration moves rows, since the query may need what earlier
        steps make; or what the server said to it. Empty where there is one.
      type: str
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, read_only_snapshot, session
from ansible.module_utils.runbook.journal.info import journal_facts, progress
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.progress.reading import watch


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict"},
        "run_id": {"type": "str", "default": ""},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Read the journal and ask the plan's progress queries."""
    settings = SessionSettings(application_name="runbook journal_info", read_only=True)
    with session(params["connection"], settings) as connection, read_only_snapshot(connection) as cursor:
        facts = journal_facts(cursor, params["run_id"])
        open_id = facts["open_run"].get("run_id")
        facts |= watch(cursor, params["run_id"] or open_id or "")
        facts["progress"] = progress(cursor, params["plan"], facts["running"]) if params["plan"] else []
    return {"msg": f"run {open_id} is open" if open_id else "no run is open", **facts}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
