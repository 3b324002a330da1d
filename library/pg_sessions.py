#!/usr/bin/python
"""End the application's sessions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_sessions
short_description: End the sessions of the application in a database, and verify that no session writes
description:
  - Ends every client session of this database repeatedly until none has reconnected for O(quiet_seconds).
  - Exceptions are the runbook's own sessions, replication, superusers (no other role can end them), the role of
    O(connection) unless O(except_own_role=false), and O(except_roles).
  - Then O(tables) are watched for O(watch_seconds). Any write fails the module, and the message names the session.
options:
  tables:
    description: Tables, as C(schema.table), that no session may write.
    type: list
    elements: str
    default: []
  except_roles:
    description: Roles whose sessions stay. They must not write.
    type: list
    elements: str
    default: []
  except_own_role:
    description: Whether other sessions of the role of O(connection) stay.
    type: bool
    default: true
  end_timeout_seconds:
    description: How long reconnecting sessions are ended again, in seconds.
    type: float
    default: 30
  quiet_seconds:
    description: How long no session may reconnect, in seconds.
    type: float
    default: 1
  watch_seconds:
    description: How long the tables are watched for writes, in seconds.
    type: float
    default: 2
extends_documentation_fragment: [runbook_connection, runbook_result_file]
attributes:
  check_mode:
    support: full
    details: Reports which sessions would be ended.
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: End the sessions that write orders
  pg_sessions:
    connection: "{{ database_connection }}"
    tables: [public.orders]
    except_roles: [reporting]
"""

RETURN = r"""
sessions:
  description: The sessions that were (or would be) ended, each with C(pid), C(user) and C(application).
  returned: always
  type: list
  elements: dict
ended_at_epoch:
  description: When the first session was ended, in seconds since 1970. 0 in check mode.
  returned: always
  type: float
"""

import time
from typing import Any

from ansible.module_utils.runbook.database.application_sessions import (
    application_sessions,
    end_sessions,
    require_silence,
    to_text,
)
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.module import connection_argument, result_file_argument, run

FACTS: dict[str, Any] = {"sessions": [], "ended_at_epoch": 0.0}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    names = {"type": "list", "elements": "str", "default": []}
    return {
        "connection": connection_argument(),
        "tables": names,
        "except_roles": names,
        "except_own_role": {"type": "bool", "default": True},
        "end_timeout_seconds": {"type": "float", "default": 30},
        "quiet_seconds": {"type": "float", "default": 1},
        "watch_seconds": {"type": "float", "default": 2},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """End the sessions, or report which would be ended."""
    settings = SessionSettings(application_name="runbook pg_sessions", read_only=check_mode)
    with session(params["connection"], settings) as connection:
        if check_mode:
            with connection.cursor() as cursor:
                found = application_sessions(cursor, params)
            words = f"would end {len(found)} sessions" + (f": {to_text(found)}" if found else "")
            return {**FACTS, "changed": bool(found), "sessions": found, "msg": words}
        began = time.time()
        ended = end_sessions(connection, params)
        require_silence(connection, params["tables"], params["watch_seconds"])
    words = f"ended {len(ended)} sessions" + (f": {to_text(ended)}" if ended else "")
    words += f"; nobody wrote to {len(params['tables'])} tables in {params['watch_seconds']:g} s"
    return {"changed": bool(ended), "sessions": ended, "ended_at_epoch": began, "msg": words}


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS)


if __name__ == "__main__":
    main()
