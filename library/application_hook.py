#!/usr/bin/python
"""Call the operator's hook that stops or starts the application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_hook
short_description: Call the hook that stops or starts the application
description:
  - The hook is a command, an HTTP call or a maintenance flag in a table. Exactly one is set, and each has a time limit.
  - Possible secrets (O(environment), O(url), O(headers), O(body)) appear in no argument list, log or result.
options:
  purpose:
    description: The state of the application after the call, for messages.
    type: str
    required: true
    choices: [stopped, started]
  command:
    description: Program and arguments; no shell.
    type: list
    elements: str
    default: []
  environment:
    description: Environment variables of the command, for its secrets.
    type: dict
    default: {}
  url:
    description: Address to call.
    type: str
    default: ""
  method:
    description: HTTP method.
    type: str
    default: POST
  headers:
    description: HTTP headers.
    type: dict
    default: {}
  body:
    description: HTTP body.
    type: str
  status_codes:
    description: HTTP status codes that mean success.
    type: list
    elements: int
    default: [200, 201, 202, 204]
  ca_file:
    description: Certificate authority for https. Empty takes the system's.
    type: path
  flag:
    description: A boolean column that the application reads.
    type: dict
    suboptions:
      table:
        description: Table as C(schema.table).
        type: str
        required: true
      column:
        description: The column.
        type: str
        required: true
      value:
        description: Value to set.
        type: bool
        required: true
      where:
        description: Columns and values of the row; all rows without it.
        type: dict
  connect_timeout_seconds:
    description: How long to wait for a connection, in seconds.
    type: float
    default: 10.0
  total_timeout_seconds:
    description: Longest time for the whole hook, in seconds.
    type: float
    default: 60.0
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    description: The hook is not called.
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Stop the application through its API
  application_hook:
    connection: "{{ database_connection }}"
    purpose: stopped
    url: https://example.org/maintenance/on
    headers: {Authorization: "Bearer {{ vault_hook_token }}"}

- name: Set the maintenance flag
  application_hook:
    connection: "{{ database_connection }}"
    purpose: stopped
    flag: {table: public.site, column: maintenance, value: true}
"""

RETURN = r"""
hook: {description: Kind of the hook., type: str, returned: always}
called: {description: Whether the hook was called., type: bool, returned: always}
status: {description: Exit or HTTP status; null for a flag., type: int, returned: always}
output: {description: "Output of the command without its secrets.", type: str, returned: always}
rows: {description: Rows in which the flag was set., type: int, returned: always}
"""

from typing import Any

from ansible.module_utils.runbook.application_hook import EMPTY, call
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "connection": connection_argument(),
        "purpose": {"type": "str", "required": True, "choices": ["stopped", "started"]},
        "command": {"type": "list", "elements": "str", "default": []},
        "environment": {"type": "dict", "default": {}, "no_log": True},
        "url": {"type": "str", "default": "", "no_log": True},
        "method": {"type": "str", "default": "POST"},
        "headers": {"type": "dict", "default": {}, "no_log": True},
        "body": {"type": "str", "no_log": True},
        "status_codes": {"type": "list", "elements": "int", "default": [200, 201, 202, 204]},
        "ca_file": {"type": "path"},
        "flag": {
            "type": "dict",
            "options": {
                "table": {"type": "str", "required": True},
                "column": {"type": "str", "required": True},
                "value": {"type": "bool", "required": True},
                "where": {"type": "dict"},
            },
        },
        "connect_timeout_seconds": {"type": "float", "default": 10.0},
        "total_timeout_seconds": {"type": "float", "default": 60.0},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Call the hook."""
    return call(params, check_mode=check_mode)


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=EMPTY)


if __name__ == "__main__":
    main()
