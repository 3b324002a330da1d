#!/usr/bin/python
"""Fill an empty database with demonstration data, once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_demo_data
short_description: Fill an empty database with a schema and generated rows, once
description:
  - Runs SQL files in order, in one transaction, and notes in the database (table C(demo_data.loaded)) with which
    settings that was done. A load that is interrupted leaves nothing.
  - A database that was filled with the same settings is left alone; one that holds anything else is refused.
options:
  files:
    description: The SQL files, in order. They may not hold BEGIN, COMMIT or statements that need to be outside one.
    type: list
    elements: path
    required: true
  settings:
    description:
      - Settings of the files, by name. A file reads one as C(current_setting('demo.<name>')).
    type: dict
    default: {}
  summary_query:
    description: File with a query that returns one row about what the database holds; returned as C(summary).
    type: path
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Fill the database
  pg_demo_data:
    connection: "{{ database_connection | combine({'user': 'supabase_admin'}) }}"
    files:
      - "{{ playbook_dir }}/sql/shop/schema.sql"
      - "{{ playbook_dir }}/sql/shop/orders.sql"
    settings:
      orders: 20000
      seed: 1
"""

RETURN = r"""
settings:
  description: The settings as the files read them, C(demo.<name>) to text.
  returned: always
  type: dict
loaded:
  description: Whether the database holds the data now.
  returned: always
  type: bool
summary:
  description: The row of O(summary_query), by column name; empty when none was given or nothing is loaded.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, describe, session
from ansible.module_utils.runbook.embedded import demo_data
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "files": {"type": "list", "elements": "path", "required": True},
        "settings": {"type": "dict", "default": {}},
        "summary_query": {"type": "path"},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Fill the database unless it already is, or report what would be done."""
    settings = demo_data.session_settings(params["settings"])
    wanted = SessionSettings(application_name="runbook demo data", read_only=check_mode, settings=settings)
    with session(params["connection"], wanted) as connection:
        with connection.cursor() as cursor:
            needed = demo_data.needs_load(cursor, params["settings"])
        if needed and not check_mode:
            demo_data.load(connection, params["files"], params["settings"])
        loaded = not (needed and check_mode)
        summary = {}
        if loaded and params["summary_query"]:
            with connection.cursor() as cursor:
                summary = demo_data.summary(cursor, params["summary_query"])
    what = ("would be filled" if check_mode else "filled") if needed else "already filled"
    return {
        "changed": needed,
        "msg": f"{describe(params['connection'])}: {what}",
        "diff": {"before": {"loaded": not needed}, "after": {"loaded": True}},
        "queries": [f"-- {path}" for path in params["files"]] if needed else [],
        "settings": settings,
        "loaded": loaded,
        "summary": summary,
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts={"settings": {}, "loaded": False, "summary": {}})


if __name__ == "__main__":
    main()
