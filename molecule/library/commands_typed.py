#!/usr/bin/python
"""Run ansible-playbook commands as an operator would, for a test."""

from __future__ import annotations

DOCUMENTATION = r"""
module: commands_typed
short_description: Run ansible-playbook commands, and fail unless each has the expected return code and output
description:
  - Runs the commands without anything that molecule sets, as many at a time as there are processors, and compares
    return code and output. White space does not count.
options:
  commands:
    description: The commands; they must not depend on each other.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the command, for the message.
        type: str
        required: true
      arguments:
        description: Arguments of ansible-playbook.
        type: list
        elements: str
        required: true
      rc:
        description: Expected return code.
        type: int
        default: 2
      says:
        description: Expected parts of the output.
        type: list
        elements: str
        required: true
      directory:
        description: Working directory, instead of O(directory).
        type: path
  directory:
    description: Working directory of the commands.
    type: path
    required: true
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: A misspelt inventory
  commands_typed:
    commands:
      - name: A misspelt inventory
        arguments: [migrate.yml, -i, inventories/stagign]
        rc: 1
        says: [Completely failed to parse inventory source]
    directory: "{{ repository }}"
"""

RETURN = r"""#"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

#: Limit for a test that hangs.
LIMIT_SECONDS = 300


def complaint(command: dict[str, Any]) -> str:
    """Run a command; return what differs from the expectation, or nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), *command["arguments"]],
        cwd=command["directory"],
        env={**kept, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    output = " ".join(done.stdout.split())
    unsaid = [part for part in command["says"] if " ".join(part.split()) not in output]
    if done.returncode == command["rc"] and not unsaid:
        return ""
    told = f"It did not say {unsaid}. " if unsaid else ""
    return f"{command['name']}: rc {done.returncode}, expected {command['rc']}. {told}It said:\n{done.stdout}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "commands": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "arguments": {"type": "list", "elements": "str", "required": True},
                    "rc": {"type": "int", "default": 2},
                    "says": {"type": "list", "elements": "str", "required": True},
                    "directory": {"type": "path"},
                },
            },
            "directory": {"type": "path", "required": True},
        }
    )
    commands = [
        {**command, "directory": command["directory"] or module.params["directory"]}
        for command in module.params["commands"]
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [text for text in pool.map(complaint, commands) if text]
    if complaints:
        module.fail_json(msg="\n".join(complaints))
    module.exit_json(typed=len(commands))


if __name__ == "__main__":
    main()
