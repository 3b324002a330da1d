#!/usr/bin/python
"""Decide whether an environment may follow its predecessor."""

from __future__ import annotations

DOCUMENTATION = r"""
module: promotion_info
short_description: Judge whether a predecessor environment is green for a plan
description:
  - Reads the newest report of every host of the predecessor environment and refuses unless each one is green
    and has the same plan hash.
  - A predecessor whose run is complete with warnings (slow queries) requires O(accept_slow=true).
  - Only reads files. Nothing is changed.
options:
  artifacts_directory:
    description: Directory with C(<environment>/<host>/<run id>/report.json).
    type: path
    required: true
  predecessor:
    description: Name of the environment that must be green.
    type: str
    required: true
  plan_hash:
    description: SHA-256 of the plan to promote, as hexadecimal text.
    type: str
    required: true
  accept_slow:
    description: Accept runs that are complete with warnings.
    type: bool
    default: false
extends_documentation_fragment: [runbook_result_file]
attributes:
  check_mode:
    description: Works the same, but does not write O(result_file).
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Staging is green for this plan
  promotion_info:
    artifacts_directory: artifacts
    predecessor: staging
    plan_hash: "{{ plan.plan_hash }}"
"""

RETURN = r"""
changed:
  description: Always false.
  type: bool
  returned: always
msg:
  description: The judgement in a sentence.
  type: str
  returned: always
accept_slow:
  description: Whether slow runs were accepted, for the record.
  type: bool
  returned: success
runs:
  description: The newest run of each host of the predecessor, by host name.
  type: dict
  returned: success
  sample: {staging_database: {id: 20260101T000000Z-1a2b3c, state: complete}}
reasons:
  description: Every reason not to promote.
  type: list
  elements: str
  returned: failure
"""

from typing import Any

from ansible.module_utils.runbook.module import result_file_argument, run
from ansible.module_utils.runbook.run.promotion import judge, latest_reports, require_green


def argument_spec() -> dict[str, Any]:
    return {
        "artifacts_directory": {"type": "path", "required": True},
        "predecessor": {"type": "str", "required": True},
        "plan_hash": {"type": "str", "required": True},
        "accept_slow": {"type": "bool", "default": False},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    predecessor = params["predecessor"]
    reports = latest_reports(params["artifacts_directory"], predecessor)
    require_green(judge(reports, predecessor, params["plan_hash"], params["accept_slow"]), predecessor)
    return {
        "msg": f"{predecessor} is green for this plan on {len(reports)} host(s).",
        "accept_slow": params["accept_slow"],
        "runs": {host: {"id": report["run"]["id"], "state": report["state"]} for host, report in reports.items()},
    }


def main() -> None:
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
