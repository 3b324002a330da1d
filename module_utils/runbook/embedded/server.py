"""A throwaway PostgreSQL server in a directory of its own: started, described, stopped and removed.

The runtime directory holds everything of it: programs (copied from a wheel), data, socket and log. Started by root,
the server runs as ``nobody``, because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from . import binaries as embedded_binaries
from .directory import claim, give_to_account
from .programs import configure, initialise, launch
from .state import MARKER, describe, is_server, mark, require_ours, running_pid, socket_directory

__all__ = ["MARKER", "Wanted", "describe", "examine", "running_pid", "socket_directory", "start", "stop", "would_stop"]

#: libpq and the server allow this many bytes for the path of a Unix socket.
SOCKET_PATH_LIMIT_BYTES = 107


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


def examine(wanted: Wanted) -> dict[str, Any]:
    """Return the facts of what is there and the ``port`` a start would use; changes nothing.

    :raises RunbookError: the directory is somebody else's, another version is in it, its path is too long,
        or no such server is installed.
    """
    runtime = wanted.runtime_directory
    if os.path.lexists(runtime):
        require_ours(runtime)
    before = describe(runtime)
    if before["major"] not in (0, wanted.major):
        raise RunbookError(
            f"{runtime} holds a PostgreSQL {before['major']} server, and {wanted.major} is asked for.",
            object_name=runtime,
            next_command="stop and remove it first (make stop)",
        )
    if before["pid"]:
        return before
    embedded_binaries.locate(wanted.major, wanted.bin_directory)
    before["port"] = wanted.port or before["port"] or (_free_port() if wanted.listen else 5432)
    socket_path = os.path.join(before["socket_directory"], f".s.PGSQL.{before['port']}")
    if len(os.fsencode(socket_path)) > SOCKET_PATH_LIMIT_BYTES:
        raise RunbookError(
            f"the socket path {socket_path} is longer than {SOCKET_PATH_LIMIT_BYTES} bytes.",
            object_name=runtime,
            next_command="choose a shorter runtime directory",
        )
    return before


def start(wanted: Wanted) -> dict[str, Any]:
    """Have the server running and return its facts, ``changed`` among them.

    :raises RunbookError: what ``examine`` refuses, or the server does not start.
    """
    before = examine(wanted)
    if before["pid"]:
        return {**before, "changed": False}
    runtime = wanted.runtime_directory
    claim(runtime)
    mark(runtime, {})  # from here on it is known as ours, whatever interrupts
    binaries = embedded_binaries.locate(wanted.major, wanted.bin_directory)
    bin_directory = embedded_binaries.copy_for_other_account(binaries, os.path.join(runtime, "software"))
    for name in ("socket", "log"):
        give_to_account(os.path.join(runtime, name))
    marker = {
        "bin_directory": bin_directory,
        "superuser": wanted.superuser,
        "version": embedded_binaries.version_of(bin_directory),
        "major": wanted.major,
        "host": "127.0.0.1" if wanted.listen else before["socket_directory"],
        "port": before["port"],
    }
    mark(runtime, marker)
    facts = describe(runtime)
    if not os.path.exists(os.path.join(facts["data_directory"], "PG_VERSION")):
        initialise(wanted, facts)
    configure(wanted, facts)
    launch(facts, wanted.timeout_seconds)
    return {**describe(runtime), "changed": True}


def would_stop(runtime_directory: str) -> bool:
    """Return whether ``stop`` would have anything to do; it refuses what ``stop`` refuses."""
    if not os.path.lexists(runtime_directory):
        return False
    require_ours(runtime_directory)
    return True


def stop(runtime_directory: str, timeout_seconds: float = 60) -> bool:
    """Stop the server of a runtime directory and remove the directory; return whether there was anything to do.

    :raises RunbookError: the directory is not one of ours, or the server does not stop in time.
    """
    if not would_stop(runtime_directory):
        return False
    data = os.path.join(runtime_directory, "data")
    pid = running_pid(data)
    for sign in (signal.SIGINT, signal.SIGQUIT):  # fast shutdown; after half the time, immediate
        deadline = time.monotonic() + timeout_seconds / 2
        if pid and is_server(pid, data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        while pid and is_server(pid, data) and time.monotonic() < deadline:
            time.sleep(0.05)
    if pid and is_server(pid, data):
        raise RunbookError(
            f"the server with process id {pid} did not stop within {timeout_seconds:g} seconds.",
            object_name=runtime_directory,
            next_command=f"look into {describe(runtime_directory)['log_file']}",
        )
    shutil.rmtree(runtime_directory)
    return True


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
