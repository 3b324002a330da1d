#!/usr/bin/python
"""Read a migration plan."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_plan_info
short_description: Read and check a migration plan
description:
  - Reads C(plan.yml) of a plan directory, checks it whole and returns it as data for the other modules.
  - Connects to nothing and changes nothing.
options:
  plan_directory:
    description: Directory that holds C(plan.yml), C(migrations), C(revert) and the queries.
    type: path
    required: true
extends_documentation_fragment: [runbook_result_file]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Read the plan
  pg_plan_info:
    plan_directory: "{{ playbook_dir }}/sql/orders_split"
  register: plan_info

- name: Show the versions
  ansible.builtin.debug:
    msg: "{{ plan_info.plan.migrations | map(attribute='version') }}"
"""

RETURN = r"""
plan:
  description:
    - The plan with every optional key present and every path absolute. Empty when the plan is not usable.
    - Each entry of C(migrations) also has C(file), C(revert_file) and C(revert_functions).
    - C(directory) and C(plan_hash) are added.
  returned: always
  type: dict
plan_hash:
  description: SHA-256 (64 hexadecimal digits) over every file of the plan directory, by relative path and content.
  returned: always
  type: str
plan_errors:
  description: Each error of the plan as C(file:line:key:text); empty when there is none.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.runbook.module import result_file_argument, run
from ansible.module_utils.runbook.plan.loader import load_plan


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {"plan_directory": {"type": "path", "required": True}, "result_file": result_file_argument()}


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Load the plan; raise its errors as one RunbookError."""
    plan = load_plan(params["plan_directory"])
    return {
        "msg": f"plan {plan['plan']}: {len(plan['migrations'])} migrations, hash {plan['plan_hash'][:12]}",
        "plan": plan,
        "plan_hash": plan["plan_hash"],
        "plan_errors": [],
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts={"plan": {}, "plan_hash": "", "plan_errors": []})


if __name__ == "__main__":
    main()
