#!/usr/bin/python
"""Find the run that a command belongs to, and what it would apply."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_run_info
short_description: Tell which run a command belongs to, and what is pending
description:
  - Reads the plan, the migration history and the journal of the database, and returns one dict that every later step
    of a play is given. A run that is open in the journal is resumed under its own id and directory; otherwise a new
    id is made. Nothing is written, neither here nor in the database.
  - Refuses before anything else when the confirmation is missing, when hosts of several environments are mixed, when
    another environment or inventory host began the open run, and when the open run has changed tables of the plan with
    other files than the plan has now. An open run that has changed nothing gives way to a new one.
options:
  plan_directory:
    description: Directory with C(plan.yml).
    type: path
    required: true
  artifacts_directory:
    description: Directory in which C(<environment>/<host>/<run id>) lies.
    type: path
    required: true
  environment_name:
    description: Name of the environment, for example C(staging).
    type: str
    required: true
  host:
    description: Inventory name of the database.
    type: str
    required: true
  hosts:
    description: Every host of the play, for the report.
    type: list
    elements: str
    default: []
  hosts_environments:
    description: Environment of every host of the play. More than one different name is refused.
    type: list
    elements: str
    default: []
  confirm:
    description: Comma-separated inventory hosts that the operator confirmed.
    type: str
    default: ""
  confirmation_required:
    description: Refuse unless O(confirm) names O(host).
    type: bool
    default: false
  stop_after:
    description: Last version to apply. Empty means all.
    type: str
    default: ""
  existing:
    description:
      - Demand a run that the journal knows. It is O(run_id), else the open one, else the newest; see O(rolled_back).
    type: bool
    default: false
  rolled_back:
    description:
      - With O(existing=true) and without O(run_id), whether a run that is rolled back counts. V(refused) is for who
        acts. V(if_no_other) prefers one that is not. V(if_newest) takes the newest whatever became of it.
    type: str
    choices: [refused, if_no_other, if_newest]
    default: refused
  anywhere:
    description:
      - Whether a run that another environment or inventory host began is returned, for commands that only read. The
        result's RV(begun_elsewhere) says so then. Otherwise it is refused.
    type: bool
    default: false
  complete_binds:
    description:
      - Whether the newest run binds the command where it is complete, too. For commands that take away what a complete
        run left. Refused where another environment or inventory host made it.
    type: bool
    default: false
  run_id:
    description: Id of the run to look up with O(existing=true).
    type: str
    default: ""
extends_documentation_fragment: [runbook_connection, runbook_result_file, runbook_tls]
attributes:
  check_mode:
    description: Works the same; nothing is ever written.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Which run is this
  pg_run_info:
    connection: "{{ database_connection }}"
    plan_directory: sql/orders_to_shipments
    artifacts_directory: artifacts
    environment_name: staging
    host: staging_database
    confirm: staging_database
    confirmation_required: true
  register: run
"""

RETURN = r"""
changed:
  description: Always false.
  type: bool
  returned: always
msg:
  description: The run and what is pending, in a sentence.
  type: str
  returned: always
id:
  description: Id of the run; sorts by time.
  type: str
  returned: success
new_id:
  description: A new id, whether or not a run is open.
  type: str
  returned: success
directory:
  description: Directory of the run. Not created yet for a new run.
  type: str
  returned: success
standalone_directory:
  description: Directory for a command that belongs to no run, named by RV(new_id). Not created yet.
  type: str
  returned: success
newest_directory:
  description: Directory of the open run, or else of the newest run that is not rolled back; empty without one.
  type: str
  returned: success
last_run:
  description: RV(last_run.id), state and directory of the open run, or else of the newest, rolled back or not; empty
    where there never was one.
  type: dict
  returned: success
artifacts_directory:
  description: As given.
  type: str
  returned: success
plan:
  description: The whole plan, as M(pg_plan_info) returns it.
  type: dict
  returned: success
plan_hash:
  description: SHA-256 over every file of the plan.
  type: str
  returned: success
environment:
  description: As given.
  type: str
  returned: success
host:
  description: As given.
  type: str
  returned: success
hosts:
  description: As given.
  type: list
  elements: str
  returned: success
resumed:
  description: Whether the run was open before this command.
  type: bool
  returned: success
state:
  description: State of the run in the journal, or V(new).
  type: str
  returned: success
phases_done:
  description: Phases whose newest event in the journal is ok.
  type: list
  elements: str
  returned: success
applied:
  description: Versions of the plan that the migration history holds.
  type: list
  elements: str
  returned: success
pending:
  description: Versions of the plan that it does not hold, in order.
  type: list
  elements: str
  returned: success
to_apply:
  description: RV(pending), up to O(stop_after).
  type: list
  elements: str
  returned: success
stop_after:
  description: As given.
  type: str
  returned: success
begun_elsewhere:
  description: With O(anywhere=true), that another environment or inventory host began the run; else empty.
  type: str
  returned: success
helper_schema_exists:
  description: Whether the plan's helper schema is in the database.
  type: bool
  returned: success
"""

from typing import Any

from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run, tls_argument
from ansible.module_utils.runbook.run.identity import identify


def argument_spec() -> dict[str, Any]:
    return {
        "connection": connection_argument(),
        "plan_directory": {"type": "path", "required": True},
        "artifacts_directory": {"type": "path", "required": True},
        "environment_name": {"type": "str", "required": True},
        "host": {"type": "str", "required": True},
        "hosts": {"type": "list", "elements": "str", "default": []},
        "hosts_environments": {"type": "list", "elements": "str", "default": []},
        "confirm": {"type": "str", "default": ""},
        "confirmation_required": {"type": "bool", "default": False},
        "tls": tls_argument(),
        "stop_after": {"type": "str", "default": ""},
        "existing": {"type": "bool", "default": False},
        "rolled_back": {"type": "str", "choices": ["refused", "if_no_other", "if_newest"], "default": "refused"},
        "anywhere": {"type": "bool", "default": False},
        "complete_binds": {"type": "bool", "default": False},
        "run_id": {"type": "str", "default": ""},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    facts = identify(params)
    verb = "goes on" if facts["resumed"] else "is new" if facts["state"] == "new" else f"is {facts['state']}"
    pending = ", ".join(facts["pending"]) or "nothing"
    return {**facts, "msg": f"Run {facts['id']} {verb}; pending: {pending}."}


def main() -> None:
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
