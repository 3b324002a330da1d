"""A throwaway PostgreSQL server in a directory of its own: started, described, stopped and removed.

The runtime directory holds everything of it: programs (copied from a wheel), data, socket and log. Started by root,
the server runs as ``nobody``, because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from . import embedded_binaries
from .embedded_directory import claim, give_to_account, require_own
from .embedded_programs import configure, initialise, launch
from .errors import RunbookError

#: libpq and the server allow this many bytes for the path of a Unix socket.
SOCKET_PATH_LIMIT_BYTES = 107

MARKER = "server.json"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A server to have.

    :param runtime_directory: absolute path, short enough for a socket path.
    :param superuser: name of the bootstrap superuser.
    :param password: its password over TCP; over the socket none is asked.
    :param listen: also listen on 127.0.0.1 (the port is then a free one unless given), with scram passwords.
    :param port: 0 picks 5432 for a socket-only server and a free port otherwise.
    :param settings: server parameters, applied at each start.
    """

    runtime_directory: str
    major: int = 17
    bin_directory: str = ""
    superuser: str = "postgres"
    password: str = ""
    listen: bool = False
    port: int = 0
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timeout_seconds: int = 60


def socket_directory(runtime_directory: str) -> str:
    """Return where the server of a runtime directory puts its socket: the ``host`` to connect to."""
    return os.path.join(runtime_directory, "socket")


def describe(runtime_directory: str) -> dict[str, Any]:
    """Return the facts of the server in a runtime directory; ``pid`` is 0 when none runs there."""
    facts: dict[str, Any] = {
        "runtime_directory": runtime_directory,
        "socket_directory": socket_directory(runtime_directory),
        "data_directory": os.path.join(runtime_directory, "data"),
        "log_file": os.path.join(runtime_directory, "log", "server.log"),
        "bin_directory": "",
        "superuser": "",
        "version": "",
        "major": 0,
        "host": "",
        "port": 0,
    }
    with (
        contextlib.suppress(FileNotFoundError),
        open(os.path.join(runtime_directory, MARKER), encoding="utf-8") as file,
    ):
        facts.update(json.load(file))
    facts["pid"] = running_pid(facts["data_directory"])
    return facts


def running_pid(data_directory: str) -> int:
    """Return the process id of the server on a data directory, 0 when there is none.

    A stale pid file may name a process that has nothing to do with it; the server's working directory tells.
    """
    try:
        with open(os.path.join(data_directory, "postmaster.pid"), encoding="utf-8") as file:
            pid = int(file.readline())
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
        return 0
    if os.path.isdir("/proc/self"):
        try:
            if os.path.realpath(os.readlink(f"/proc/{pid}/cwd")) != os.path.realpath(data_directory):
                return 0
        except OSError:  # gone meanwhile, or a zombie that nobody has collected
            return 0
    return pid


def start(wanted: Wanted) -> dict[str, Any]:
    """Have the server running and return its facts, ``changed`` among them.

    :raises RunbookError: the directory is somebody else's, another version runs there, or the server does not start.
    """
    runtime = wanted.runtime_directory
    if os.path.lexists(runtime):
        require_own(runtime)
    before = describe(runtime)
    if before["major"] not in (0, wanted.major):
        raise RunbookError(
            f"{runtime} holds a PostgreSQL {before['major']} server, and {wanted.major} is asked for.",
            object_name=runtime,
            next_command="stop and remove it first (make stop)",
        )
    if before["pid"]:
        return {**before, "changed": False}
    binaries = embedded_binaries.locate(wanted.major, wanted.bin_directory)
    port = wanted.port or before["port"] or (_free_port() if wanted.listen else 5432)
    socket_path = os.path.join(socket_directory(runtime), f".s.PGSQL.{port}")
    if len(os.fsencode(socket_path)) > SOCKET_PATH_LIMIT_BYTES:
        raise RunbookError(
            f"the socket path {socket_path} is longer than {SOCKET_PATH_LIMIT_BYTES} bytes.",
            object_name=runtime,
            next_command="choose a shorter runtime directory",
        )
    claim(runtime)
    bin_directory = embedded_binaries.copy_for_other_account(binaries, os.path.join(runtime, "software"))
    for name in ("socket", "log"):
        give_to_account(os.path.join(runtime, name))
    marker = {
        "bin_directory": bin_directory,
        "superuser": wanted.superuser,
        "version": embedded_binaries.version_of(bin_directory),
        "major": wanted.major,
        "host": "127.0.0.1" if wanted.listen else socket_directory(runtime),
        "port": port,
    }
    with open(os.path.join(runtime, MARKER), "w", encoding="utf-8") as file:
        json.dump(marker, file, indent=2, sort_keys=True)
    facts = describe(runtime)
    if not os.path.exists(os.path.join(facts["data_directory"], "PG_VERSION")):
        initialise(wanted, facts)
    configure(wanted, facts)
    launch(facts, wanted.timeout_seconds)
    return {**describe(runtime), "changed": True}


def stop(runtime_directory: str, *, remove: bool = True, timeout_seconds: float = 60) -> bool:
    """Stop the server of a runtime directory and remove the directory; return whether there was anything to do.

    :raises RunbookError: the directory is not one of ours, or the server does not stop in time.
    """
    if not os.path.lexists(runtime_directory):
        return False
    require_own(runtime_directory)
    if os.listdir(runtime_directory) and not os.path.exists(os.path.join(runtime_directory, MARKER)):
        raise RunbookError(
            f"{runtime_directory} was not made by this module ({MARKER} is missing): it is left alone.",
            object_name=runtime_directory,
        )
    data = os.path.join(runtime_directory, "data")
    pid = running_pid(data)
    for sign in (signal.SIGINT, signal.SIGQUIT):  # fast shutdown; after half the time, immediate
        deadline = time.monotonic() + timeout_seconds / 2
        if running_pid(data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        while running_pid(data) and time.monotonic() < deadline:
            time.sleep(0.05)
    if running_pid(data):
        raise RunbookError(
            f"the server with process id {pid} did not stop within {timeout_seconds:g} seconds.",
            object_name=runtime_directory,
            next_command=f"look into {describe(runtime_directory)['log_file']}",
        )
    if remove:
        shutil.rmtree(runtime_directory)
    return bool(pid) or remove


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
