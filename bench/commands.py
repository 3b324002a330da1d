"""Measure playbooks on a small database relative to a playbook with one debug task, which is Ansible's start."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from support.playbooks import Operator
from support.servers import Options

from .contenders import Outcome

FLOOR = "debug"
FLOOR_PLAYBOOK = """
- hosts: databases
  gather_facts: false
  tasks:
    - debug: {msg: hello}
"""

#: Limits of the time of a command, as a multiple of the playbook with one debug task, in the order in which they run:
#: the first one migrates, so the others find a database with nothing to do and no run to control.
LIMITS = {"whole run": 8.0, "status": 2.5, "control": 2.0, "nothing to do": 5.0}
ROUNDS = 5


def commands(options: Options, limit_seconds: float) -> Outcome:
    """Run each command once; the first one migrates."""
    outcome = Outcome(0.0)
    with tempfile.TemporaryDirectory(prefix="bench-commands-") as directory:
        operator = Operator(Path(directory), options)
        floor = Path(directory) / "debug.yml"
        floor.write_text(FLOOR_PLAYBOOK)
        typed = {
            FLOOR: ([str(floor)], ""),
            "whole run": (["migrate.yml"], ""),
            "status": (["playbooks/status.yml"], ""),
            "control": (["playbooks/control.yml", "-e", "control=resume"], "there is nothing to steer"),
            "nothing to do": (["migrate.yml"], ""),
        }
        for name, (arguments, refusal) in typed.items():
            started = time.monotonic()
            done = operator.finish(operator.start(*arguments), limit_seconds)
            outcome.parts[name] = time.monotonic() - started
            outcome.seconds += outcome.parts[name]
            if refusal not in done.text or bool(done.status) != bool(refusal):
                outcome.failure = f"{name} ended with status {done.status}: {done.text[-2000:]}"
                break
    return outcome
