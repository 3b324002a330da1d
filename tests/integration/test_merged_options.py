"""What -e gives of a mapping is merged into the inventory's, as roles read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from support.servers import REPOSITORY

PLAY = """
- name: Show
  hosts: databases
  gather_facts: false
  tasks:
    - name: Show
      ansible.builtin.copy:
        content: "{{ [lookup('merged_options', 'role_options'), lookup('merged_options', 'other')] | to_json }}"
        dest: "{{ playbook_dir }}/seen.json"
        mode: "0600"
"""


def seen(directory: Path, *arguments: str) -> Any:
    options = {"workers": "{{ fast }}", "locking": {"lock_attempts": 9, "lock_pause_seconds": 1.0}, "roles": ["a", "b"]}
    variables = {"ansible_connection": "local", "fast": 3, "role_options": options}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"databases": {"hosts": {"db": variables}}}))
    (directory / "play.yml").write_text(PLAY)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "seen.json").read_text())


def test_one_key_on_the_command_line_leaves_the_others_as_the_inventory_has_them(tmp_path: Path) -> None:
    locking = {"lock_attempts": 9, "lock_pause_seconds": 1.0}
    assert seen(tmp_path) == [{"workers": 3, "locking": locking, "roles": ["a", "b"]}, {}]
    given = {"role_options": {"locking": {"lock_attempts": 2}, "roles": ["c"]}, "other": {"x": 1}}
    merged = {"workers": 3, "locking": {**locking, "lock_attempts": 2}, "roles": ["c"]}
    assert seen(tmp_path, "-e", json.dumps(given)) == [merged, {"x": 1}]
    # A template of the command line is filled in too, and the inventory's other variables are those of the command.
    given = {"role_options": {"size": "{{ fast }}"}, "fast": 5}
    assert seen(tmp_path, "-e", json.dumps(given))[0]["size"] == 5
