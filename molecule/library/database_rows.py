#!/usr/bin/python
"""Run a query of a test and compare the rows with the expected ones."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_rows
short_description: Run a query, and fail unless it returns the expected rows
description:
  - Runs the query of a file. Nothing of the runbook takes part, so that its own verification is not what is tested.
options:
  connection:
    description: Keywords for libpq.
    type: dict
    required: true
  file:
    description: File with one query.
    type: path
    required: true
  expect:
    description: Expected rows, each a list of text (null for NULL).
    type: list
    elements: list
  same_in:
    description: Name of another database of the server that must return the same rows.
    type: str
  at_least:
    description: Smallest number of rows. With O(same_in) it proves that rows were compared.
    type: int
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Nothing but the new column differs
  database_rows:
    connection: "{{ database_connection }}"
    file: orders_as_they_were.sql
    same_in: template_clean
    at_least: 300
"""

RETURN = r"""
rows:
  description: The rows, every value as text.
  returned: always
  type: list
  elements: list
"""

from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from ansible.module_utils.basic import AnsibleModule

Rows = list[list[str | None]]


def ask(options: dict[str, Any], query: str) -> Rows:
    connection = psycopg2.connect(**options)
    connection.set_session(readonly=True)
    with connection.cursor() as cursor:
        cursor.execute(query)
        rows = [[None if value is None else str(value) for value in row] for row in cursor.fetchall()]
    connection.close()
    return rows


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "connection": {"type": "dict", "required": True},
            "file": {"type": "path", "required": True},
            "expect": {"type": "list", "elements": "list"},
            "same_in": {"type": "str"},
            "at_least": {"type": "int"},
        }
    )
    params = module.params
    query = Path(params["file"]).read_text(encoding="utf-8")
    rows = ask(params["connection"], query)
    name = Path(params["file"]).name
    complaints = []
    wanted: Rows | None = None
    if params["expect"] is not None:
        wanted = [[None if value is None else str(value) for value in row] for row in params["expect"]]
    if params["same_in"]:
        wanted = ask({**params["connection"], "dbname": params["same_in"]}, query)
    if wanted is not None and rows != wanted:
        more = [row for row in rows if row not in wanted][:5]
        less = [row for row in wanted if row not in rows][:5]
        complaints.append(f"{name}: {len(rows)} rows, expected {len(wanted)}; unexpected {more}, missing {less}")
    if params["at_least"] is not None and len(rows) < params["at_least"]:
        complaints.append(f"{name}: {len(rows)} rows, expected at least {params['at_least']}")
    if complaints:
        module.fail_json(msg="; ".join(complaints), rows=rows[:20])
    module.exit_json(rows=rows)


if __name__ == "__main__":
    main()
