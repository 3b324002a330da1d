#!/usr/bin/python
"""Match what went wrong in a run with the plan's known issues."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_troubleshooting_info
short_description: Match what went wrong in a run with the issues that its plan knows
description:
  - Reads the result files of a run, picks the issues of the plan's C(troubleshooting) section that they point at, and
    runs each issue's query for the rows that are in the way now.
  - Reads in one REPEATABLE READ, READ ONLY transaction. Nothing is written, in check mode or out of it.
  - Without a server the issues are returned all the same, without rows.
options:
  plan:
    description: The plan, as M(pg_plan_info) returns it.
    type: dict
    required: true
  run_directory:
    description: Directory of the run, with its result files in C(results).
    type: path
    required: true
  target_options:
    description: Command line options that name the environment. They take the place of C({target}) in a command.
    type: str
    default: ""
  statement_timeout_seconds:
    description: Longest time for one query, in seconds.
    type: int
    default: 60
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: What is known about this failure
  pg_troubleshooting_info:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    run_directory: "{{ run.directory }}"
    target_options: -i inventories/staging -e confirm=staging_database
"""

RETURN = r"""
summary:
  description: Every issue, for the screen.
  returned: success
  type: list
  elements: str
issues:
  description: The issues that something points at, in the order of the plan.
  returned: always
  type: list
  elements: dict
  contains:
    issue: {description: What it is called., type: str}
    why: {description: What points at it., type: list}
    cause: {description: Where it comes from., type: str}
    solution: {description: What helps., type: str}
    action: {description: What to do., type: str}
    next_command: {description: What to type; empty when the plan names nothing., type: str}
    query: {description: The query for the rows in the way., type: str}
    query_file: {description: Its file; empty when the issue has none., type: str}
    rows: {description: Its first 20 rows., type: list}
    rows_total: {description: How many rows there are., type: int}
    error: {description: Why the rows could not be read; empty when they were., type: str}
signs:
  description:
    - What the result files say, by C(checks), C(findings), C(failed_migrations) and C(slow_migrations).
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, read_only_snapshot, session
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.report.report import read_results
from ansible.module_utils.runbook.verification.troubleshooting import add_rows, issues, signs, to_text


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "run_directory": {"type": "path", "required": True},
        "target_options": {"type": "str", "default": ""},
        "statement_timeout_seconds": {"type": "int", "default": 60},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Match, then read the rows of each matching issue."""
    seen = signs(read_results(params["run_directory"]))
    target = f" {params['target_options'].strip()}" if params["target_options"].strip() else ""
    found = issues(params["plan"].get("troubleshooting") or [], seen, target)
    if any(issue["query_file"] for issue in found):
        wanted = SessionSettings(
            application_name="runbook pg_troubleshooting_info",
            statement_timeout_seconds=params["statement_timeout_seconds"],
            read_only=True,
        )
        try:
            with session(params["connection"], wanted) as connection, read_only_snapshot(connection) as cursor:
                found = [add_rows(cursor, issue) for issue in found]
        except RunbookError as error:
            found = [{**issue, "error": error.msg} for issue in found]
    return {
        "msg": to_text(found) or "No known issue of the plan matches.",
        "queries": [issue["query"] for issue in found if issue["query"]],
        "summary": to_text(found).splitlines(),
        "issues": found,
        "signs": seen,
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts={"issues": [], "signs": {}}, shows_message=True)


if __name__ == "__main__":
    main()
