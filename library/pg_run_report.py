#!/usr/bin/python
"""Write report.json of a run, and close the run in the journal if it is complete."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_run_report
short_description: Write the report of a run and close the run where it is complete
description:
  - Makes C(report.json) in the run's directory from the result files of the phases and from the journal in the
    database. It can be called at any time, also after the run was killed, and gives the same report.
  - A run that is open in the journal and complete by its results is closed there, as C(complete) or
    C(complete_with_warnings).
  - A database that does not answer is named in the report; the result files are still reported.
options:
  run:
    description: Facts of the run, as M(pg_run_info) returned them.
    type: dict
    required: true
  template:
    description:
      - Jinja template of C(report.md), beside C(report.json). It is given C(report). None is written without it.
    type: path
  incident_template:
    description:
      - Jinja template of C(incident.md), beside C(incident.json), for a run that was refused, failed, was interrupted
        or rolled back. Both lie in C(incidents/<time>-<state>) with copies of the results, which nothing removes.
    type: path
  ends_refused:
    description:
      - For the command that applies migrations, at its end. A run that failed before it changed a table of the plan is
        closed as C(abandoned), and its change log is removed in bounded lock attempts. A run that the operator aborted
        stays open.
    type: bool
    default: false
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    description: The report is made and returned; nothing is written anywhere.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Make the report again after a kill
  pg_run_report:
    connection: "{{ database_connection }}"
    run: "{{ run }}"
"""

RETURN = r"""
changed:
  description: Whether the run was closed in the journal.
  type: bool
  returned: always
msg:
  description: State of the run and path of the report.
  type: str
  returned: always
report:
  description: What C(report.json) holds. Its shape is described in C(docs/report.schema.json).
  type: dict
  returned: always
summary:
  description: Lines for the screen.
  type: list
  elements: str
  returned: always
path:
  description: Path of C(report.json).
  type: str
  returned: always
incident:
  description: Directory of the incident report; empty where there is none.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run
from ansible.module_utils.runbook.run.make_report import make_report


def argument_spec() -> dict[str, Any]:
    return {
        "connection": connection_argument(),
        "run": {"type": "dict", "required": True},
        "template": {"type": "path"},
        "incident_template": {"type": "path"},
        "ends_refused": {"type": "bool", "default": False},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    return make_report(
        params["connection"],
        params["run"],
        params["template"],
        check_mode=check_mode,
        incident_template=params["incident_template"],
        ends_refused=params["ends_refused"],
    )


def main() -> None:
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
