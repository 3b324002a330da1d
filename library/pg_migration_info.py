#!/usr/bin/python
"""Show which migrations of a plan are applied."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_migration_info
short_description: Show which migrations of a plan are applied, pending, half done or edited since
description:
  - Compares the plan's files with C(supabase_migrations.schema_migrations) and the journal, as
    C(supabase migration list) does, and beyond it.
  - Works on a database that has neither. Reads in one read-only transaction; changes nothing.
extends_documentation_fragment: [runbook_connection, runbook_plan, runbook_result_file]
attributes:
  check_mode:
    description: Works the same; nothing is ever written to the database.
    support: full
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Which migrations are applied
  pg_migration_info:
    connection: "{{ database_connection }}"
    plan: "{{ plan_info.plan }}"
  register: migration_table

- name: Show the pending ones
  ansible.builtin.debug:
    msg: "{{ migration_table.pending }}"
"""

RETURN = r"""
changed:
  description: Always false.
  type: bool
  returned: always
migrations:
  description: One entry per migration of the plan, in its order.
  type: list
  elements: dict
  returned: success
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
  returned: success
nothing_pending:
  description: Whether all are applied and none is half done. A run then takes no backup and writes no journal.
  type: bool
  returned: success
applied:
  description: Versions that are applied, in order.
  type: list
  elements: str
  returned: success
partial:
  description: Versions that are half applied or half reverted.
  type: list
  elements: str
  returned: success
drifted:
  description: Applied versions whose file was edited since.
  type: list
  elements: str
  returned: success
disagreeing:
  description: Versions on which journal and history disagree.
  type: list
  elements: str
  returned: success
unknown_remote:
  description: Applied versions that the plan does not have.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, read_only_snapshot, session
from ansible.module_utils.runbook.journal.migration_state import migration_table
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "plan": {"type": "dict", "required": True},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Read the table."""
    settings = SessionSettings(application_name="runbook migration_info", read_only=True)
    with session(params["connection"], settings) as connection, read_only_snapshot(connection) as cursor:
        facts = migration_table(cursor, params["plan"])
    total, pending = len(facts["migrations"]), ", ".join(facts["pending"]) or "nothing"
    return {"msg": f"{len(facts['applied'])} of {total} migrations are applied; pending: {pending}", **facts}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work)


if __name__ == "__main__":
    main()
