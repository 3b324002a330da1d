"""What the soak needs around the playbook: a server with the demo's rows, and helpers that run beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parent.parent
# Modules import `ansible.module_utils.runbook`; Ansible puts it there at run time, here we do.
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path[:0] = [str(REPOSITORY / "tests")]

from ansible.module_utils.runbook.embedded import server as embedded  # noqa: E402
from support.playbooks import Operator  # noqa: E402
from support.servers import DEMO_SQL, SUPERUSER, Server, connect, load_demo, query  # noqa: E402

__all__ = ["SUPERUSER", "Beside", "Operator", "Server", "phases", "running_demo"]

#: As the embedded server of `make demo` runs: nothing is switched off that a real server has.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "wal_level": "logical", "max_connections": "100"}


@contextlib.contextmanager
def running_demo(major: int, audio_posts: int) -> Iterator[tuple[Server, Path]]:
    """A server with the demo's rows, and a directory for files; both are gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="pg-soak-", dir="/tmp"))
    runtime = str(directory / "server")
    try:
        directory.chmod(0o755)  # the server runs as another account when root started it
        facts = embedded.start(embedded.Wanted(runtime, major, superuser=SUPERUSER, settings=SETTINGS))
        facts["host"] = facts["socket_directory"]
        server = Server(facts)
        with connect(server.superuser_options) as connection, connection.cursor() as cursor:
            cursor.execute((DEMO_SQL / "roles.sql").read_text(encoding="utf-8"))
        load_demo(server.options, audio_posts=audio_posts)
        yield server, directory
    finally:
        if (Path(runtime) / embedded.MARKER).exists():
            embedded.stop(runtime)
        shutil.rmtree(directory, ignore_errors=True)


class Beside:
    """A program of bench/ that runs in a process of its own until it is told to end."""

    def __init__(self, module: str, server: Server, directory: Path, name: str, *arguments: str) -> None:
        self._output = directory / f"{name}.json"
        self._stop = directory / f"{name}.stop"
        command = [sys.executable, "-m", module, "--host", server.facts["host"], "--port", str(server.facts["port"])]
        command += ["--superuser", SUPERUSER, "--until-file", str(self._stop), "--output", str(self._output)]
        self._running = subprocess.Popen([*command, *arguments], cwd=REPOSITORY, stdout=subprocess.DEVNULL)

    def finish(self, timeout_seconds: float = 60) -> dict[str, Any]:
        """Tell it to end, and return what it wrote."""
        self._stop.touch()
        return self.result(timeout_seconds)

    def result(self, timeout_seconds: float) -> dict[str, Any]:
        """Wait for its own end, and return what it wrote."""
        try:
            status = self._running.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if status:
            raise RuntimeError(f"{self._running.args} ended with status {status}")
        found: dict[str, Any] = json.loads(self._output.read_text(encoding="utf-8"))
        return found

    def alive(self) -> bool:
        return self._running.poll() is None

    def kill(self) -> None:
        if self.alive():
            self._running.kill()
            self._running.wait()


def phases(server: Server, begun_at: str) -> list[dict[str, Any]]:
    """The steps of the migrations from the journal, in seconds since the load began."""
    rows = query(
        server.superuser_options,
        "SELECT version, step_number, name, kind, extract(epoch FROM started_at - %s::timestamptz)::float8,"
        " extract(epoch FROM finished_at - %s::timestamptz)::float8"
        " FROM migration_runbook.step WHERE superseded_at IS NULL ORDER BY started_at, step_number",
        (begun_at, begun_at),
    )
    names = ("version", "step", "name", "kind", "from_second", "to_second")
    return [dict(zip(names, row, strict=True)) for row in rows]


def steps_during(steps: list[dict[str, Any]], wait: Mapping[str, Any]) -> list[str]:
    """Names of the steps that ran while a statement waited."""
    begin, end = wait["second"], wait["second"] + wait["milliseconds"] / 1000
    return [
        f"{step['version'][-1]}.{step['step']} {step['name']}"
        for step in steps
        if step["from_second"] is not None and step["from_second"] < end and (step["to_second"] or end) > begin
    ]
