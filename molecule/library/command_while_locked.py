#!/usr/bin/python
"""Run a command while an application's transaction blocks it, for a test."""

from __future__ import annotations

DOCUMENTATION = r"""
module: command_while_locked
short_description: Run a command until it waits for a lock that this module holds
description:
  - Opens a transaction that reads a table, as an application does, and runs the command. Once a session of the runbook
    waits for the table, the command is left to give up by itself, or killed.
  - A killed command leaves its module waiting. It is typed again while that is so; then the waiting session is ended,
    as the second command says, and the transaction too.
options:
  connection:
    description: Keywords for libpq.
    type: dict
    required: true
  table:
    description: Table that the transaction reads, as schema.name.
    type: str
    required: true
  argv:
    description: The command.
    type: list
    elements: str
    required: true
  chdir:
    description: Where to run it.
    type: path
    required: true
  kill:
    description: Send SIGKILL to the command, by its process id, once it waits; then run it again.
    type: bool
    default: false
  result_file_of:
    description: With O(kill), directory in which the orphaned module must have written this file's name before the end.
    type: path
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: Run the command while the application blocks it
  command_while_locked:
    connection: "{{ database_connection }}"
    table: public.orders
    argv: [ansible-playbook, migrate.yml]
    chdir: "{{ playbook_dir }}"
"""

RETURN = r"""
rc:
  description: Return code of the command; -9 when it was killed.
  returned: always
  type: int
output:
  description: Its output, white space collapsed.
  returned: always
  type: str
again_rc:
  description: Return code of the second command, with O(kill).
  returned: with kill
  type: int
again_output:
  description: Output of the second command.
  returned: with kill
  type: str
"""

import glob
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2
from ansible.module_utils.basic import AnsibleModule
from psycopg2 import sql

#: Limit for a test that hangs.
LIMIT_SECONDS = 120

# Databases copied from one template have the same table under the same number: only this one's session counts.
WAITING = """
SELECT activity.pid
FROM pg_catalog.pg_locks AS lock
INNER JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
WHERE NOT lock.granted AND lock.relation = %s::regclass AND activity.datname = pg_catalog.current_database()
    AND activity.application_name LIKE 'runbook%%'
"""


def environment() -> dict[str, str]:
    """Return the environment without what molecule sets for Ansible."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    return {**kept, "ANSIBLE_NOCOLOR": "1"}


class Command:
    def __init__(self, argv: list[str], directory: str) -> None:
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - read when the process ends
        self.process = subprocess.Popen(
            argv,
            cwd=directory,
            env=environment(),
            stdout=self._output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def ended(self) -> dict[str, Any]:
        rc = self.process.wait(LIMIT_SECONDS)
        self._output.seek(0)
        return {"rc": rc, "output": " ".join(self._output.read().split())}


def started(pid: int) -> str:
    """Return when a process started, so that another one with its id is not taken for it; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def descendants(pid: int) -> dict[int, str]:
    """Return every process below one, with when it started."""
    found: dict[int, str] = {}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="utf-8").split()):
            found.update({child: started(child), **descendants(child)})
    return found


def until(found: Any, what: str) -> Any:
    """Repeat a question until there is an answer."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {LIMIT_SECONDS} s")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "connection": {"type": "dict", "required": True},
            "table": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "chdir": {"type": "path", "required": True},
            "kill": {"type": "bool", "default": False},
            "result_file_of": {"type": "path"},
        }
    )
    params = module.params
    application = psycopg2.connect(**params["connection"], application_name="an application")
    observer = psycopg2.connect(**params["connection"])
    observer.autocommit = True

    def waiting() -> list[int]:
        with observer.cursor() as cursor:
            cursor.execute(WAITING, (params["table"],))
            return [pid for (pid,) in cursor.fetchall()]

    with application.cursor() as cursor:
        schema, _, name = params["table"].partition(".")
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier(schema, name)))
    command = Command(params["argv"], params["chdir"])
    result: dict[str, Any] = {}
    try:
        if params["kill"]:
            until(waiting, "the command waits for the lock")
            orphans = descendants(command.process.pid)
            command.process.kill()
            result = command.ended()
            again = Command(params["argv"], params["chdir"]).ended()
            result.update(again_rc=again["rc"], again_output=again["output"])
            with observer.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                    " WHERE application_name LIKE 'runbook%' AND datname = pg_catalog.current_database()"
                )
            directory, file = os.path.split(params["result_file_of"])
            until(lambda: glob.glob(f"{directory}/**/{file}", recursive=True), "the orphaned module ends")
            # Ansible's worker has lost its parent and would wait forever.
            for pid, since in orphans.items():
                if since and started(pid) == since:
                    os.kill(pid, signal.SIGKILL)
        else:
            result = command.ended()
    finally:
        if command.process.poll() is None:
            command.process.kill()
        application.close()
        observer.close()
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
