#!/usr/bin/python
"""Compare two whole databases, for a test."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_dump_equal
short_description: Fail unless two databases have the same schema and the same rows
description:
  - Compares the plain dumps that pg_dump makes of both, definitions and rows, without the order of rows.
options:
  connection:
    description: Keywords for libpq. The account must be a superuser, to see everything.
    type: dict
    required: true
  same_as:
    description: Name of the other database.
    type: str
    required: true
  bin_directory:
    description: Directory of pg_dump.
    type: path
    required: true
  without_schemas:
    description: Schemas to leave out.
    type: list
    elements: str
    default: []
author: [Runbook maintainers]
"""

EXAMPLES = r"""
- name: The refused run wrote nothing
  database_dump_equal:
    connection: "{{ superuser_connection }}"
    same_as: template_clean
    bin_directory: "{{ molecule_directory }}/software/bin"
"""

RETURN = r"""#"""

import difflib
import subprocess
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule


def dump(module: AnsibleModule, database: str) -> list[str]:
    connection = module.params["connection"]
    command = [f"{module.params['bin_directory']}/pg_dump", "--no-password"]
    command += [f"--exclude-schema={name}" for name in module.params["without_schemas"]]
    command += [f"--{key}={connection[short]}" for key, short in (("host", "host"), ("port", "port"))]
    command += [f"--username={connection['user']}", database]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        module.fail_json(msg=f"{' '.join(command)}: {done.stderr}")
    return list(in_order(done.stdout.splitlines()))


def in_order(lines: list[str]) -> Iterator[str]:
    """Yield the lines with the rows of each COPY sorted, without the random key that pg_dump writes."""
    rows: list[str] | None = None
    for line in lines:
        if rows is not None and line == "\\.":
            yield from sorted(rows)
            rows = None
        if rows is not None:
            rows.append(line)
        elif not line.startswith(("\\restrict", "\\unrestrict")):
            yield line
            if line.startswith("COPY ") and line.endswith("FROM stdin;"):
                rows = []


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "connection": {"type": "dict", "required": True},
            "same_as": {"type": "str", "required": True},
            "bin_directory": {"type": "path", "required": True},
            "without_schemas": {"type": "list", "elements": "str", "default": []},
        }
    )
    name, other = module.params["connection"]["dbname"], module.params["same_as"]
    lines, wanted = dump(module, name), dump(module, other)
    difference = list(difflib.unified_diff(wanted, lines, other, name, lineterm="", n=1))
    if difference:
        module.fail_json(msg=f"{name} differs from {other}:\n" + "\n".join(difference[:40]))
    module.exit_json(lines=len(lines))


if __name__ == "__main__":
    main()
