#!/usr/bin/python
"""Run checks against a database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_verify
short_description: Run a list of checks against a database and report all failures at once
description:
  - Every check is a query that returns one row. The row is compared with what the check expects.
  - A check without a query has a query for offending rows instead, which are counted. It expects none.
  - All checks see the same instant, REPEATABLE READ, READ ONLY transactions of one snapshot.
  - Checks with the same query are judged each for itself, by the one row that the query gave.
  - A query that the server refuses is a failed check; the others still run.
  - With O(plan), its trials run as well, the statements that the applications send, in a transaction of their own that
    is always rolled back. One that fails fails the module, unless it failed before the plan changed anything. In check
    mode no trial runs.
options:
  checks:
    description:
      - The checks, as C(plan.yml) holds them and M(pg_plan_info) returns them.
      - By default those of the migrations of O(plan) and its own. What is not applied yet is listed as
        V(would_be_checked).
    type: list
    elements: dict
    suboptions:
      name:
        description: Short name, used in messages and results.
        type: str
        required: true
      title:
        description: What the check proves, in words. The name when it is left out.
        type: str
      query:
        description:
          - File with the query. It returns exactly one row.
          - Its column C(rows_examined) says how many rows or catalogue objects the query looked at.
          - Without it the rows of O(checks[].offenders) are counted, as C(offending_rows).
        type: path
      examined:
        description: Of a check without O(checks[].query), file with the query that counts the rows it looked at.
        type: path
      expect:
        description:
          - Expected value by column. A plain value means equality.
          - A mapping with one key gives another relation, C(equals) another column, C(at_least) or C(at_most)
            a number or a column, C(contains) a text.
        type: dict
        default: {}
      counted_by:
        description:
          - Name of the count in O(snapshot_counts) that tells whether there is anything to examine.
          - A check that examined no rows fails, unless this count was 0 or is not known.
        type: str
      offenders:
        description: File with a query for the offending rows. With O(checks[].query) it is run when the check fails.
        type: path
      informational:
        description: Show the result without ever failing.
        type: bool
        default: false
      asked_first:
        description: Begin this check before the others, whatever its place in the list. For the longest one.
        type: bool
        default: false
      applied:
        description: Whether what the check looks at is applied. When V(false), it is listed as V(would_be_checked).
        type: bool
        default: true
      needs_versions:
        description:
          - Migrations that the check looks at. When the migration history lacks one, it is not applied.
          - While one of O(versions) that the history lacks is half done, the check is listed as V(would_be_checked)
            too, for that migration may have taken away for a while what the check looks at.
        type: list
        elements: str
        default: []
  versions:
    description: >-
      Migrations whose absence from the history is returned as RV(pending), besides those of checks. See also
      O(checks[].needs_versions). Without O(checks) these are all migrations of O(plan).
    type: list
    elements: str
    default: []
  snapshot_counts:
    description: Row counts before the migration, by name, as M(pg_snapshot) returns them.
    type: dict
    default: {}
  plan:
    description: >-
      The plan whose trials run and whose tables are surveyed, as M(pg_plan_info) returns it. Without it no trial runs.
    type: dict
  survey:
    description:
      - Survey the tables that the plan writes, as M(pg_environment_info) does, and return it as the last check. Its
        blocking findings are the offending rows.
      - Before it come two checks of the same tables, once none of O(versions) is pending. V(foreign_keys) counts the
        rows without a parent, for every foreign key from and to them, marked valid or not. V(catalog_state) lists
        constraints that are not validated, invalid indexes and disabled triggers.
    type: bool
    default: false
  statement_timeout_seconds:
    description: Longest time for one query, in seconds. A check that takes longer fails.
    type: int
    default: 300
extends_documentation_fragment:
  - runbook_accept
  - runbook_connection
  - runbook_plan_settings
  - runbook_reading
  - runbook_result_file
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Check that every order has a line
  pg_verify:
    connection: "{{ database_connection }}"
    checks:
      - name: orders_without_lines
        title: Every order has a line
        query: "{{ playbook_dir }}/sql/orders_split/queries/check_orders_without_lines.sql"
        expect: {orders_without_lines: 0}
        counted_by: order_count
        offenders: "{{ playbook_dir }}/sql/orders_split/queries/offenders_orders_without_lines.sql"
    snapshot_counts:
      order_count: 4711
"""

RETURN = r"""
results:
  description: One entry per check, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Name of the check., type: str}
    title: {description: What it proves., type: str}
    query: {description: The query as sent., type: str}
    query_file: {description: The file the query is in., type: str}
    expectation: {description: "The expectation in words, for example V(left = 0).", type: str}
    observed: {description: The row that the query returned, by column., type: dict}
    rows_examined: {description: How many rows the query looked at; null when it did not run., type: int}
    seconds: {description: How long the query took; 0 when it did not run., type: float}
    status:
      description: One of V(passed), V(failed), V(nothing_to_examine), V(information), V(would_be_checked).
      type: str
    why: {description: Why it has this status; empty when it passed., type: str}
    error: {description: What the server said when it refused the query; empty otherwise., type: str}
    sqlstate: {description: The server's error code; empty when it did not refuse., type: str}
    offenders: {description: The first 20 offending rows., type: list}
    offenders_total: {description: How many rows offend., type: int}
failed_checks:
  description: Names of the checks that failed.
  returned: always
  type: list
  elements: str
pending:
  description: Those of O(versions), and of what checks need, that the migration history lacks.
  returned: always
  type: list
  elements: str
statuses:
  description: How many checks have each status.
  returned: always
  type: dict
trials:
  description: Result of each trial that is valid now, as M(pg_migration) returns it.
  returned: always
  type: list
  elements: dict
summary:
  description: One line per check, and one per trial.
  returned: always
  type: list
  elements: str
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings
from ansible.module_utils.runbook.database.readers import for_reading, readers, reading_arguments
from ansible.module_utils.runbook.environment.survey.accept import accept_argument
from ansible.module_utils.runbook.environment.survey.survey import survey_check
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.verification.applied import as_applied, checks_of_plan, versions_of_plan
from ansible.module_utils.runbook.verification.catalog_checks import catalog_checks, written_tables
from ansible.module_utils.runbook.verification.checks import failed, refuse_failures, run_checks, to_lines
from ansible.module_utils.runbook.verification.trials.judge import counts_to_text, failures_to_text, stopping
from ansible.module_utils.runbook.verification.trials.judge import refuse_failures as refuse_trials
from ansible.module_utils.runbook.verification.trials.judge import to_lines as trials_to_lines
from ansible.module_utils.runbook.verification.trials.outcome import Result
from ansible.module_utils.runbook.verification.trials.session_trials import run_valid_trials


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    check = {
        "name": {"type": "str", "required": True},
        "title": {"type": "str"},
        "query": {"type": "path"},
        "examined": {"type": "path"},
        "expect": {"type": "dict", "default": {}},
        "counted_by": {"type": "str"},
        "offenders": {"type": "path"},
        "informational": {"type": "bool", "default": False},
        "asked_first": {"type": "bool", "default": False},
        "applied": {"type": "bool", "default": True},
        "needs_versions": {"type": "list", "elements": "str", "default": []},
    }
    return {
        "connection": connection_argument(),
        "checks": {"type": "list", "elements": "dict", "options": check},
        "versions": {"type": "list", "elements": "str", "default": []},
        "snapshot_counts": {"type": "dict", "default": {}},
        "plan": {"type": "dict"},
        "survey": {"type": "bool", "default": False},
        "plan_settings": {"type": "dict", "default": {}},
        "accept": accept_argument(),
        "statement_timeout_seconds": {"type": "int", "default": 300},
        **reading_arguments(),
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Run the checks; raise failures as one RunbookError with every result."""
    wanted_checks, versions = params["checks"], params["versions"]
    if wanted_checks is None:
        wanted_checks, versions = checks_of_plan(params["plan"]), versions_of_plan(params["plan"])
    wanted = SessionSettings(
        application_name="runbook pg_verify",
        statement_timeout_seconds=params["statement_timeout_seconds"],
    )
    wanted = for_reading(wanted, params["work_memory_megabytes"])
    with readers(params["connection"], wanted, params["sessions"]) as side_by_side:
        checks, pending = as_applied(side_by_side.first, wanted_checks, versions)
        results = run_checks(side_by_side, checks, params["snapshot_counts"])
        if params["survey"]:
            plan, plan_settings = params["plan"] or {}, params["plan_settings"]
            why_not = f"not applied: {', '.join(pending)}" if pending else ""
            results += catalog_checks(side_by_side, written_tables(plan), why_not=why_not)
            results.append(survey_check(side_by_side.first, plan, plan_settings, params["accept"]))
    trials = run_valid_trials(params["connection"], params["plan"] or {}, params["accept"], check_mode=check_mode)
    facts = facts_of(results, pending, trials)
    try:
        refuse_failures(results, facts)
    except RunbookError as error:
        failures = stopping(trials)
        error.msg += (
            f"{len(failures)} of {len(trials)} trials failed.\n{failures_to_text(failures)}\n" if failures else ""
        )
        raise
    refuse_failed_trials(trials, facts)
    return facts


def facts_of(
    results: list[dict[str, Any]], pending: Sequence[str] = (), trials: Sequence[Result] = ()
) -> dict[str, Any]:
    """Return the result keys, the same for a success and a failure."""
    statuses = Counter(result["status"] for result in results)
    found = ", ".join(f"{count} {status}" for status, count in statuses.items())
    return {
        "msg": f"{len(results)} checks: {found}" + (f"; {counts_to_text(trials)}" if trials else ""),
        "queries": [
            result["query"] for result in results if result["query"] and result["status"] != "would_be_checked"
        ],
        "results": results,
        "failed_checks": [result["name"] for result in failed(results)],
        "statuses": dict(statuses),
        "pending": list(pending),
        "trials": [trial.as_dict() for trial in trials],
        "summary": [*to_lines(results), *trials_to_lines(trials)],
    }


def refuse_failed_trials(trials: Sequence[Result], facts: dict[str, Any]) -> None:
    """Raise one error with every trial that fails; do nothing if none does."""
    try:
        refuse_trials(trials, state="The application meets the same errors now.", next_command="run this again")
    except RunbookError as error:
        error.facts = facts
        raise


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=facts_of([]), required_one_of=[("checks", "plan")])


if __name__ == "__main__":
    main()
