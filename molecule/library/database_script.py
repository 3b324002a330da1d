#!/usr/bin/python
"""Run a SQL file, for a test."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_script
short_description: Run a SQL file in one transaction
options:
  connection:
    description: Keywords for libpq.
    type: dict
    required: true
  file:
    description: The file.
    type: path
    required: true
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: What a bug in the application leaves behind
  database_script:
    connection: "{{ database_connection }}"
    file: damage.sql
"""

RETURN = r"""#"""

from pathlib import Path

import psycopg2
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "connection": {"type": "dict", "required": True},
            "file": {"type": "path", "required": True},
        }
    )
    with psycopg2.connect(**module.params["connection"]) as connection, connection.cursor() as cursor:
        cursor.execute(Path(module.params["file"]).read_text(encoding="utf-8"))
    connection.close()
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
