#!/usr/bin/python
"""Match the failure of a run with the known issues of a plan."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_troubleshooting_info
short_description: Match the failure of a run with the known issues of its plan
description:
  - Reads the result files of a run, selects the matching issues of the plan's C(troubleshooting) section, and runs each
    issue's query for the rows that block the migration now.
  - Reads in one REPEATABLE READ, READ ONLY transaction. Nothing is written.
  - If the server does not answer, the issues are returned without rows.
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
    description: Command line options that name the environment. They replace C({target}) in a command.
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
  description: The matching issues, in the order of the plan.
  returned: always
  type: list
  elements: dict
  contains:
    issue: {description: Title of the issue., type: str}
    why: {description: The evidence for it., type: list}
    cause: {description: Cause of the issue., type: str}
    solution: {description: The solution., type: str}
    action: {description: What to do., type: str}
    next_command: {description: Next command; empty if the plan names none., type: str}
    query: {description: The query for the blocking rows., type: str}
    query_file: {description: Its file; empty when the issue has none., type: str}
    rows: {description: Its first 20 rows., type: list}
    rows_total: {description: Number of rows., type: int}
    error: {description: Why the rows could not be read; empty when they were., type: str}
signs:
  description:
    - Evidence in the result files, by C(checks), C(findings), C(failed_migrations) and C(slow_migrations).
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
    """Match, then read the rows of the matching issues."""
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
