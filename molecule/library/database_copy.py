#!/usr/bin/python
"""Create a database from a template, for a test."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_copy
short_description: Create a database from a template, replacing one with the same name
description: Sessions of the old database are ended.
options:
  connection:
    description: Keywords for libpq. The account must be a superuser.
    type: dict
    required: true
  name:
    description: Name of the database.
    type: str
    required: true
  template:
    description: Database to copy.
    type: str
    required: true
  owner:
    description: Owner of the database.
    type: str
    default: postgres
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: A database of its own
  database_copy:
    connection: "{{ superuser_connection }}"
    name: "{{ inventory_hostname }}"
    template: template_clean
"""

RETURN = r"""#"""

import psycopg2
from ansible.module_utils.basic import AnsibleModule
from psycopg2 import sql


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "connection": {"type": "dict", "required": True},
            "name": {"type": "str", "required": True},
            "template": {"type": "str", "required": True},
            "owner": {"type": "str", "default": "postgres"},
        }
    )
    names = {key: sql.Identifier(module.params[key]) for key in ("name", "template", "owner")}
    connection = psycopg2.connect(**module.params["connection"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {name} WITH (FORCE)").format(**names))
        cursor.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}").format(**names))
    connection.close()
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
