"""Kill a play, the module that works for it, or the server, which is then started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from bench.soak_stage import SETTINGS, SUPERUSER, Server  # first: it says where the rest is found

# isort: split
from ansible.module_utils.runbook.embedded import server as embedded
from ansible.module_utils.runbook.errors import RunbookError

START_SECONDS = 60


class Restartable:
    """A server that can be restarted with its data after a kill."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def start_again(self) -> None:
        """Start it; processes of the killed server may need a moment to exit."""
        facts = self.server.facts
        wanted = embedded.Wanted(
            facts["runtime_directory"], int(facts["major"]), superuser=SUPERUSER, port=facts["port"], settings=SETTINGS
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                embedded.start(wanted)
                return
            except RunbookError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def kill_play(running: subprocess.Popen[str], _: Restartable) -> None:
    """Kill only ansible-playbook: its worker and module keep running."""
    running.send_signal(signal.SIGKILL)


def kill_module(running: subprocess.Popen[str], _: Restartable) -> None:
    """Kill the module's process; between two modules, wait for the next one."""
    while running.poll() is None:
        found = [pid for pid in descendants(running.pid) if is_module(pid)]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[-1], signal.SIGKILL)
                return
        time.sleep(0.01)


def kill_server(running: subprocess.Popen[str], server: Restartable) -> None:
    """Kill the postmaster, wait until the play notices, and start the server again."""
    os.kill(int(embedded.describe(server.server.facts["runtime_directory"])["pid"]), signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(timeout=60)
    server.start_again()


def descendants(pid: int) -> list[int]:
    """Return the ids of a process's descendants, parents before children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_module(pid: int) -> bool:
    """Return whether a process runs one of our modules; the system keeps 15 characters of a process name."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return name in {module.stem[:15] for module in (Path(__file__).resolve().parents[1] / "library").glob("*.py")}
