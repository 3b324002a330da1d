"""Read what the runtime directory of an embedded server contains, and whether the server is running."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ..errors import RunbookError
from .directory import require_own

#: The file that marks a directory of an embedded server, and describes the server.
MARKER = "server.json"


def socket_directory(runtime_directory: str) -> str:
    """Return the socket directory of a runtime directory's server: the ``host`` to connect to."""
    return os.path.join(runtime_directory, "socket")


def describe(runtime_directory: str) -> dict[str, Any]:
    """Return the facts about the server in a runtime directory; ``pid`` is 0 if none is running."""
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
    """Return the process id of the server of a data directory; 0 if there is none."""
    try:
        with open(os.path.join(data_directory, "postmaster.pid"), encoding="utf-8") as file:
            pid = int(file.readline())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if is_server(pid, data_directory) else 0


def is_server(pid: int, data_directory: str) -> bool:
    """Return whether a process is the server of a data directory.

    A stale pid file may name an unrelated process, so compare the working directory of the process.
    """
    try:
        os.kill(pid, 0)
        if os.path.isdir("/proc/self"):
            return os.path.realpath(os.readlink(f"/proc/{pid}/cwd")) == os.path.realpath(data_directory)
    except OSError:  # ended, another user's, or a zombie
        return False
    return True


def require_ours(runtime_directory: str) -> None:
    """Refuse a directory of another user, and one that contains other files."""
    require_own(runtime_directory)
    if os.listdir(runtime_directory) and not os.path.exists(os.path.join(runtime_directory, MARKER)):
        raise RunbookError(
            f"{runtime_directory} is not empty and was not made for an embedded server ({MARKER} is missing): "
            "it is left alone.",
            object_name=runtime_directory,
            next_command="choose another runtime directory",
        )


def mark(runtime_directory: str, content: dict[str, Any]) -> None:
    """Record what a runtime directory contains, atomically."""
    path = os.path.join(runtime_directory, MARKER)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, sort_keys=True)
    os.replace(f"{path}.new", path)
