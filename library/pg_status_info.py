#!/usr/bin/python
"""Show the state of a database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_status_info
short_description: Show where a database stands, in facts and in lines for the screen
description:
  - Compares the plan's files with C(supabase_migrations.schema_migrations) and the journal, as
    C(supabase migration list) does, and beyond it. Reads the journal (schema C(migration_runbook)) and the plan's
    progress. Counts what the application wrote according to the log that M(pg_change_log) makes.
  - Works on a database that has none of these. Reads in one read-only transaction; changes nothing.
  - Batches are committed one by one, so what this shows is true while a migration runs. Where one moves rows, the
    journal says how many are done of how many; the plan's progress queries, which count tables, are then left alone.
options:
  run:
    description: The run as M(pg_run_info) returns it. The lines of a O(view) need it.
    type: dict
  plan:
    description: The plan as M(pg_plan_info) returns it; by default that of O(run).
    type: dict
  run_id:
    description: Run whose events, steps and batches are shown. When empty, the open run, or else the newest.
    type: str
    default: ""
  snapshot_directory:
    description: The data snapshot since which the application's writes count. Without one everything in the log counts.
    type: path
  view:
    description:
      - What RV(summary) holds. V(status) says where things stand and what comes next. V(monitor) says how far the run
        is. V(takes_too_long) says that, what its sessions do, and how long it should take. V(facts) holds only what a
        run does now.
      - V(monitor) and V(takes_too_long) read the journal alone.
    type: str
    choices: [facts, status, monitor, takes_too_long]
    default: facts
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    description: Works the same; nothing is ever written to the database.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Where things stand
  pg_status_info:
    connection: "{{ database_connection }}"
    run: "{{ run }}"
    view: status

- name: Where is the migration
  pg_status_info:
    connection: "{{ database_connection }}"
    plan: "{{ plan_info.plan }}"
  register: found
  until: found.journal.open_run.state | default('none') != 'open'
  delay: 5
  retries: 1000
"""

RETURN = r"""
changed:
  description: Always false.
  type: bool
  returned: always
summary:
  description: The O(view), for the screen.
  type: list
  elements: str
  returned: success
history:
  description: Which migrations of the plan are applied, pending, half done or edited since; empty without a plan.
  type: dict
  returned: success
  contains:
    migrations:
      description: One entry per migration of the plan, in its order.
      type: list
      elements: dict
      contains:
        version: {description: Version., type: str}
        name: {description: Name., type: str}
        title: {description: Title., type: str}
        local: {description: The version; it is in the plan., type: str}
        remote: {description: The version where it is applied; empty where it is pending., type: str}
        time: {description: The version as a time; empty when it is none., type: str}
        drift:
          description: >-
            V(edited) when the statements that were applied differ from the file's (comments and white space do not
            count), V(unknown) when the history kept no statements, V(none) otherwise.
          type: str
        partial: {description: "What has begun and is not through: V(applied) or V(reverted); else empty.", type: str}
        steps_done: {description: Steps that are done of what has begun., type: int}
        steps: {description: Steps of the file., type: int}
        disagreement: {description: How journal and history disagree; empty when they do not., type: str}
    pending:
      description: Versions that are not applied, in order.
      type: list
      elements: str
    nothing_pending:
      description: Whether all are applied and none is half done. A run then takes no backup and writes no journal.
      type: bool
    applied:
      description: Versions that are applied, in order.
      type: list
      elements: str
    partial:
      description: Versions that are half applied or half reverted.
      type: list
      elements: str
    drifted:
      description: Applied versions whose file was edited since.
      type: list
      elements: str
    disagreeing:
      description: Versions on which journal and history disagree.
      type: list
      elements: str
    unknown_remote:
      description: Applied versions that the plan does not have.
      type: list
      elements: str
journal:
  description: What the journal holds.
  type: dict
  returned: success
  contains:
    exists:
      description: Whether this database has a journal.
      type: bool
    open_run:
      description: The open run's row (C(run_id), C(plan), C(plan_hash), C(environment), C(host), C(state),
        C(directory), C(started_at), C(finished_at)); empty when none is open.
      type: dict
    runs:
      description: The newest 50 runs, newest first, each as in RV(journal.open_run).
      type: list
      elements: dict
    events:
      description: Events of the run in order (C(at), C(phase), C(status), C(details)).
      type: list
      elements: dict
    steps:
      description: Steps of the run in order (C(version), C(direction), C(step_number), C(name), C(kind), C(state),
        C(attempts), C(rows_moved), C(seconds), C(superseded_at), C(unconfirmed_at)).
      type: list
      elements: dict
    batches:
      description: One entry per backfill of the run (C(version), C(direction), C(name), C(state), C(batches), C(rows),
        C(passes), C(first_at), C(last_at), C(milliseconds_per_batch), C(rows_per_second), C(last_batch_age_seconds)).
      type: list
      elements: dict
    lease:
      description: Who holds or last held the right to write (C(run_id), C(holder), C(fence), C(in_use), C(acquired_at),
        C(heartbeat_at), C(heartbeat_age_seconds), C(released_at)); empty when nobody ever did.
      type: dict
    running:
      description: What the newest step that has begun and is not done does; empty when there is none.
      type: dict
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
    control:
      description: What an operator has put in force for the run, as M(pg_control) returns it; its C(revision) is 0
        where nobody said anything.
      type: dict
    activity:
      description: Sessions of the runbook that work right now (C(pid), C(application), C(query), C(seconds), C(phase)
        and C(percent) of an index, VACUUM or ANALYZE, C(blocked_by) with the sessions that it waits for).
      type: list
      elements: dict
    summary:
      description: All of this in lines, for the screen.
      type: list
      elements: str
    progress:
      description: One entry per progress query of the plan; empty without O(plan).
      type: list
      elements: dict
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
            Why there is no row: V(nothing moved yet) until its migration moves rows, since the query may need what
            earlier steps make; or what the server said to it. Empty where there is one.
          type: str
change_log:
  description: What the application wrote to the logged tables. A row counts once, by what became of it in the end.
  type: dict
  returned: success
  contains:
    exists:
      description: Whether there is a log.
      type: bool
    since:
      description: When the snapshot was taken, or the log was made; null without a log.
      type: str
    tables:
      description: One entry per logged table.
      type: list
      elements: dict
      contains:
        table: {description: The table., type: str}
        made_at: {description: Since when it is logged., type: str}
        inserted: {description: Rows that were not there and are., type: int}
        updated: {description: Rows that were there and are., type: int}
        deleted: {description: Rows that were there and are gone., type: int}
        changes: {description: "Changes in all, of the same row too.", type: int}
        truncations: {description: How often the table was truncated., type: int}
        last_at: {description: When the newest of them was made., type: str}
"""

import datetime
import os
from typing import Any

from ansible.module_utils.runbook.database.connection import Cursor, SessionSettings, read_only_snapshot, session
from ansible.module_utils.runbook.evidence import snapshot as snapshots
from ansible.module_utils.runbook.evidence.written_rows import EMPTY as NO_LOG
from ansible.module_utils.runbook.evidence.written_rows import summary as written
from ansible.module_utils.runbook.journal.info import journal_facts, progress
from ansible.module_utils.runbook.journal.migration_state import migration_table
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.plain import to_plain
from ansible.module_utils.runbook.progress.reading import watch
from ansible.module_utils.runbook.progress.status import monitor_lines, status_lines, too_long_lines

Facts = dict[str, Any]

#: Views that read the journal alone.
OF_THE_JOURNAL = ("monitor", "takes_too_long")


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "run": {"type": "dict"},
        "plan": {"type": "dict"},
        "run_id": {"type": "str", "default": ""},
        "snapshot_directory": {"type": "path"},
        "view": {"type": "str", "choices": ["facts", "status", *OF_THE_JOURNAL], "default": "facts"},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Read everything in one transaction, then write the lines."""
    plan = params["plan"] or (params["run"] or {}).get("plan")
    everything = params["view"] not in OF_THE_JOURNAL
    settings = SessionSettings(application_name="runbook status_info", read_only=True)
    with session(params["connection"], settings) as connection, read_only_snapshot(connection) as cursor:
        facts: Facts = to_plain(
            {
                "journal": _journal(cursor, params["run_id"], plan),
                "history": migration_table(cursor, plan) if plan and everything else {},
                "change_log": _written(cursor, params["snapshot_directory"]) if everything else dict(NO_LOG),
            }
        )
    open_id = facts["journal"]["open_run"].get("run_id")
    summary = list(_lines(params["view"], params["run"] or {}, facts))
    return {"msg": f"run {open_id} is open" if open_id else "no run is open", "summary": summary, **facts}


def _journal(cursor: Cursor, run_id: str, plan: Facts | None) -> Facts:
    facts = journal_facts(cursor, run_id)
    facts |= watch(cursor, run_id or facts["open_run"].get("run_id") or "")
    facts["progress"] = progress(cursor, plan, facts["running"]) if plan else []
    return facts


def _written(cursor: Cursor, directory: str | None) -> Facts:
    there = bool(directory) and os.path.isfile(os.path.join(str(directory), snapshots.SNAPSHOT_FILE))
    server = snapshots.load(str(directory))["server"] if there else {}
    return written(cursor, server.get("visible", ""), server.get("time"))


def _lines(view: str, of_run: Facts, facts: Facts) -> Any:
    now = datetime.datetime.now(datetime.UTC)
    if view == "status":
        return status_lines(of_run, facts["history"], facts["journal"], facts["change_log"])
    if view == "monitor":
        return monitor_lines(facts["journal"], now)
    if view == "takes_too_long":
        return too_long_lines(of_run, facts["journal"], now)
    return facts["journal"]["summary"]


def main() -> None:
    """Run as an Ansible module."""
    needs_run = [("view", view, ["run"]) for view in ("status", *OF_THE_JOURNAL)]
    empty = {"summary": [], "history": {}, "journal": {}, "change_log": dict(NO_LOG)}
    run(argument_spec(), work, facts=empty, required_if=needs_run)


if __name__ == "__main__":
    main()
