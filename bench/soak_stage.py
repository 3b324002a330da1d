"""Provide what the soak needs: a server with the demo's rows, and programs that run in parallel."""

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
# Ansible provides `ansible.module_utils.runbook` at run time; here it is added to the package's path.
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path[:0] = [str(REPOSITORY / "tests")]

from ansible.module_utils.runbook.embedded import server as embedded  # noqa: E402
from support.playbooks import Operator  # noqa: E402
from support.servers import DEMO_SQL, SUPERUSER, Server, connect, load_demo, query  # noqa: E402

__all__ = ["SUPERUSER", "Beside", "Operator", "Server", "phases", "running_demo"]

#: Like the embedded server of `make demo`: durable, as a real server.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "wal_level": "logical", "max_connections": "100"}


@contextlib.contextmanager
def running_demo(major: int, audio_posts: int) -> Iterator[tuple[Server, Path]]:
    """Run a server with the demo's rows and a directory for files; remove both at the end."""
    directory = Path(tempfile.mkdtemp(prefix="pg-soak-", dir="/tmp"))
    runtime = str(directory / "server")
    try:
        directory.chmod(0o755)  # if root starts the server, it runs as another account
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
    """A program of bench/ in its own process, which runs until it is asked to end."""

    def __init__(self, module: str, server: Server, directory: Path, name: str, *arguments: str) -> None:
        self._output = directory / f"{name}.json"
        self._stop = directory / f"{name}.stop"
        command = [sys.executable, "-m", module, "--host", server.facts["host"], "--port", str(server.facts["port"])]
        command += ["--superuser", SUPERUSER, "--until-file", str(self._stop), "--output", str(self._output)]
        self._running = subprocess.Popen([*command, *arguments], cwd=REPOSITORY, stdout=subprocess.DEVNULL)

    def finish(self, timeout_seconds: float = 60) -> dict[str, Any]:
        """End it, and return its output."""
        self._stop.touch()
        return self.result(timeout_seconds)

    def result(self, timeout_seconds: float) -> dict[str, Any]:
        """Wait until it ends, and return its output."""
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
    """Return the migrations' steps from the journal, with seconds since the load started."""
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
    """Return the names of the steps that ran while a statement waited."""
    begin, end = wait["second"], wait["second"] + wait["milliseconds"] / 1000
    return [
        f"{step['version'][-1]}.{step['step']} {step['name']}"
        for step in steps
        if step["from_second"] is not None and step["from_second"] < end and (step["to_second"] or end) > begin
    ]
