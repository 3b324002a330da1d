"""Start, describe, stop and remove a temporary PostgreSQL server in its own directory.

The runtime directory contains all its files: programs (copied from a wheel), data, socket and log. Started by root,
the server runs as ``nobody``, because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from . import binaries as embedded_binaries
from .directory import account, claim, give_to_account
from .state import MARKER, describe, is_server, mark, require_ours, running_pid, socket_directory

__all__ = ["MARKER", "Wanted", "describe", "examine", "running_pid", "socket_directory", "start", "stop", "would_stop"]

#: libpq and the server allow this many bytes for the path of a Unix socket.
SOCKET_PATH_LIMIT_BYTES = 107


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A wanted server.

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
    """Return the facts about the existing server and the ``port`` that a start would use; change nothing.

    :raises RunbookError: the directory belongs to another user, another version is in it, its path is too long,
        or no such server is installed.
    """
    runtime = wanted.runtime_directory
    if os.path.lexists(runtime):
        require_ours(runtime)
    before = describe(runtime)
    if before["major"] not in (0, wanted.major):
        raise RunbookError(
            f"{runtime} contains a PostgreSQL {before['major']} server, but {wanted.major} is requested.",
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
    """Start the server unless it is running, and return its facts, including ``changed``.

    :raises RunbookError: what ``examine`` refuses, or the server does not start.
    """
    before = examine(wanted)
    if before["pid"]:
        return {**before, "changed": False}
    runtime = wanted.runtime_directory
    claim(runtime)
    mark(runtime, {})  # marks it as ours, even after an interrupt
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
    for sign in (signal.SIGINT, signal.SIGQUIT):  # fast shutdown; immediate after half the time
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


def initialise(wanted: Wanted, facts: dict[str, Any]) -> None:
    """Create the data directory: complete under its name, or absent."""
    partial = f"{facts['data_directory']}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    give_to_account(partial)
    command = ["initdb", "-D", partial, "-U", wanted.superuser, "--encoding=UTF8", "--locale=C", "--no-sync"]
    command += ["--auth-local=trust", "--auth-host=scram-sha-256"]
    password_file = os.path.join(partial + ".password")
    if wanted.password:
        with open(password_file, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(wanted.password + "\n")
        give_to_account(password_file)
        command.append(f"--pwfile={password_file}")
    try:
        run_program(facts, command, 120)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(password_file)
    os.replace(partial, facts["data_directory"])


def config_file(runtime_directory: str) -> str:
    """Return where the settings of a runtime directory's server are."""
    return os.path.join(runtime_directory, "postgresql.conf")


def configure(wanted: Wanted, facts: dict[str, Any]) -> None:
    """Write the server's settings; they apply at its next start."""
    values = {
        "port": str(facts["port"]),
        "listen_addresses": "127.0.0.1" if wanted.listen else "",
        "unix_socket_directories": facts["socket_directory"],
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **wanted.settings,
    }
    bad = [name for name in values if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name)]
    if bad:
        raise RunbookError(f"not a server parameter: {', '.join(bad)}.", object_name="server_parameters")
    # Outside the data directory: root must not write where the server's account could create a link.
    with open(config_file(facts["runtime_directory"]), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.writelines(f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in values.items())


def launch(facts: dict[str, Any], timeout_seconds: int) -> None:
    """Start the server and wait until it accepts connections."""
    command = ["pg_ctl", "start", "-s", "-w", "-t", str(timeout_seconds), "-D", facts["data_directory"]]
    command += ["-l", facts["log_file"], "-o", f"-c config_file={shlex.quote(config_file(facts['runtime_directory']))}"]
    run_program(facts, command, timeout_seconds + 10)


def run_program(facts: dict[str, Any], command: list[str], timeout_seconds: float) -> None:
    """Run a program of the server under its account, without the caller's PG* variables."""
    program = os.path.join(facts["bin_directory"], command[0])
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
    result = subprocess.run(
        [program, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout_seconds,
        cwd=facts["runtime_directory"],
        env=environment,
        **account(),
    )
    if result.returncode:
        log = _tail(facts["log_file"])
        raise RunbookError(
            f"{command[0]} failed with status {result.returncode}: {(result.stdout.strip() + ' ' + log).strip()}",
            object_name=facts["runtime_directory"],
            next_command=f"look into {facts['log_file']}",
        )


def _tail(path: str, lines: int = 5) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return " ".join(line.strip() for line in file.readlines()[-lines:])
    except FileNotFoundError:
        return ""
