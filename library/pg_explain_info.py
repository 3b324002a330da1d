#!/usr/bin/python
"""Measure performance queries."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_explain_info
short_description: Measure queries with EXPLAIN ANALYZE and compare them with their thresholds
description:
  - Runs each query as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON), once to warm the cache and then O(executions) times,
    and compares the median execution time with the query's threshold.
  - Every query has a REPEATABLE READ, READ ONLY transaction of its own. Nothing is written, in check mode or out of it.
  - A query over its threshold is a warning in the result. The module fails only when the server refuses a query.
  - The queries run as the connected role. Row-level security that this role bypasses is not part of the measurement.
options:
  queries:
    description: The queries, as C(plan.yml) holds them under C(performance).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Short name, used in messages and results.
        type: str
        required: true
      query:
        description: File with the query. It may use C(%(name)s) for a parameter; a literal C(%) is then C(%%).
        type: path
        required: true
      parameters:
        description:
          - File with a query whose first row gives the parameters by column name.
          - No row, or a NULL in it, means that there is nothing to measure with.
        type: path
      threshold_milliseconds:
        description: The median must be less than this, in milliseconds.
        type: float
        required: true
  executions:
    description: Timed executions of each query, after one that warms the cache.
    type: int
    default: 5
  sequential_scan_allowed_rows:
    description:
      - How many rows a sequential scan may read in one execution and still be the right plan.
      - The rows that were really read are judged, not the size of the table, so a scan that stops early is right and
        a small table that is read again and again is not.
    type: int
    default: 10000
  statement_timeout_seconds:
    description: Longest time for one execution, in seconds. A query that takes longer is over its threshold.
    type: int
    default: 30
  applied:
    description:
      - Whether what the queries look at is applied.
      - When V(false), no query runs and every query is listed as V(would_be_checked).
    type: bool
    default: true
  needs_versions:
    description: Migrations that the queries look at. When the migration history lacks one, they are not applied.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Measure the lines of the order with most lines
  pg_explain_info:
    connection: "{{ database_connection }}"
    queries:
      - name: lines_of_an_order
        query: "{{ playbook_dir }}/sql/orders_split/queries/performance_lines.sql"
        parameters: "{{ playbook_dir }}/sql/orders_split/queries/performance_lines_parameters.sql"
        threshold_milliseconds: 50
  register: performance

- name: Say which are slow
  ansible.builtin.debug:
    var: performance.slow
"""

RETURN = r"""
results:
  description: One entry per query, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Name of the query., type: str}
    query: {description: The query as in its file., type: str}
    query_file: {description: The file the query is in., type: str}
    parameters: {description: The parameters it ran with., type: dict}
    milliseconds: {description: Execution time of each timed execution., type: list}
    median_milliseconds: {description: Their median; null when none ran to its end., type: float}
    threshold_milliseconds: {description: What the median must stay below., type: float}
    planning_milliseconds: {description: Planning time of the last execution., type: float}
    rows_returned: {description: Rows the query returned., type: int}
    buffers: {description: "Shared buffers of the last execution, C(hit) and C(read), in blocks.", type: dict}
    indexes_used: {description: Names of the indexes in the plan., type: list}
    sequential_scans:
      description: Each sequential scan with C(table), C(rows) read in all its loops, and C(loops).
      type: list
    within_threshold: {description: Whether the median is below the threshold; null when not measured., type: bool}
    index_use_ok: {description: Whether no sequential scan read more than allowed; null when not measured., type: bool}
    status:
      description: One of V(passed), V(warning), V(nothing_to_examine), V(would_be_checked), V(failed).
      type: str
    why: {description: Why it has this status; empty when it passed., type: str}
    error: {description: What the server said when it refused the query; empty otherwise., type: str}
    sqlstate: {description: The server's error code; empty when it did not refuse., type: str}
slow:
  description: Names of the queries over their threshold.
  returned: always
  type: list
  elements: str
summary:
  description: One line per query.
  returned: always
  type: list
  elements: str
warnings_found:
  description: One sentence for each query over its threshold or with a sequential scan that read too much.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.verification.applied import missing_versions
from ansible.module_utils.runbook.verification.explain import blank, measure, to_text


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    query = {
        "name": {"type": "str", "required": True},
        "query": {"type": "path", "required": True},
        "parameters": {"type": "path"},
        "threshold_milliseconds": {"type": "float", "required": True},
    }
    return {
        "connection": connection_argument(),
        "queries": {"type": "list", "elements": "dict", "required": True, "options": query},
        "executions": {"type": "int", "default": 5},
        "sequential_scan_allowed_rows": {"type": "int", "default": 10000},
        "statement_timeout_seconds": {"type": "int", "default": 30},
        "applied": {"type": "bool", "default": True},
        "needs_versions": {"type": "list", "elements": "str", "default": []},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Measure every query; only a query that the server refuses fails the call."""
    entries = params["queries"]
    wanted = SessionSettings(
        application_name="runbook pg_explain_info",
        statement_timeout_seconds=params["statement_timeout_seconds"],
        read_only=True,
    )
    with session(params["connection"], wanted) as connection:
        with connection.cursor() as cursor:
            applied = params["applied"] and not missing_versions(cursor, params["needs_versions"])
        if not applied:
            outcome = {"status": "would_be_checked", "why": "its migration is not applied"}
            return facts_of([{**blank(entry), **outcome} for entry in entries])
        limits = (max(1, params["executions"]), params["sequential_scan_allowed_rows"])
        facts = facts_of([measure(connection, entry, *limits) for entry in entries])
    refused = [result for result in facts["results"] if result["status"] == "failed"]
    if refused:
        raise RunbookError(
            "performance queries that the server refuses:\n"
            + "\n".join(f"- {result['name']} ({result['query_file']}): {result['error']}" for result in refused)
            + "\n",
            object_name=", ".join(result["name"] for result in refused),
            sqlstate=refused[0]["sqlstate"],
            next_command="correct the query files named above",
            facts=facts,
        )
    return facts


def facts_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result keys, the same for a success and a failure."""
    warned = [result for result in results if result["status"] == "warning"]
    measured = [result for result in results if result["milliseconds"]]
    return {
        "msg": f"{len(results)} queries: {len(measured)} measured, {len(warned)} with a warning",
        "queries": [result["query"] for result in results if result["status"] != "would_be_checked"],
        "results": results,
        "slow": [result["name"] for result in results if result["within_threshold"] is False],
        "summary": [to_text(result) for result in results],
        "warnings_found": [f"{result['name']}: {result['why']}" for result in warned],
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=facts_of([]))


if __name__ == "__main__":
    main()
