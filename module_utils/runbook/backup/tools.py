"""Find the client tools of the server's major version, and run them without a password on the command line."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..database.connection import tool_environment as tool_environment
from ..database.libpq_environment import environment_of_tools
from ..database.options import scrub
from ..database.server_programs import INSTALL_PATHS, WHEELS
from ..errors import RunbookError
from ..visible import visible

ERROR_LINES = 8

_ERROR = re.compile(r"\w+: (error|fatal): ")
#: Ends the lines of an error: another message, or the failed statement, which can be long.
_END = re.compile(r"\w+: \w+: |Command was: ")
#: The line of the statement, and the position in it.
_PLACE = re.compile(r"LINE \d+: |\s*\^\s*$")


def why(text: str) -> str:
    """Return a tool's errors with the server's details and hints, or its last lines if no line is an error."""
    found: list[str] = []
    in_error = False
    for line in text.splitlines():
        in_error = bool(_ERROR.match(line)) or (in_error and not _END.match(line))
        if in_error and not _PLACE.match(line):
            found.append(line.strip())
    lines = found[:ERROR_LINES] or text.splitlines()[-ERROR_LINES:]
    return visible("; ".join(lines)) or "it printed nothing"


#: Size of the pipe from a tool. Threads that read from two tools wait for the GIL; with the default of 64 kB the tools
#: wait too, and verifying a backup takes twice as long.
_PIPE_BYTES = 1 << 18

#: Debian's wrapper script chooses a version by the environment, so its --version proves nothing.
_WRAPPER = "pg_wrapper"


def find_tool(name: str, major: int, tools_directory: str | None = None) -> Path:
    """Return the client tool ``name`` of exactly this major version.

    With ``tools_directory``, only that directory is searched. Otherwise PATH, the usual installation directories and
    the Python wheels are searched in this order.

    :raises RunbookError: there is no such tool; the message lists the places searched.
    """
    searched: list[str] = []
    for path in _candidates(name, major, tools_directory):
        if not os.access(path, os.X_OK):
            searched.append(f"{path} (not found)")
        elif Path(path).resolve().name == _WRAPPER:
            searched.append(f"{path} (a wrapper that chooses a version itself)")
        elif (found := tool_major(path)) != major:
            searched.append(f"{path} ({f'version {found}' if found else 'unknown version'})")
        else:
            return Path(path)
    raise RunbookError(
        f"{name} of PostgreSQL {major} is missing: tools must have the server's major version. "
        f"Searched: {', '.join(searched)}.",
        object_name=f"{name} {major}",
        next_command=f"apt-get install postgresql-client-{major}, or set tools_directory to a directory with its tools",
    )


def tool_major(path: str) -> int | None:
    """Return the major version that a tool prints, or None if it does not run or prints something else."""
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment_of_tools(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match else None


def tool_version(path: str | Path) -> str:
    """Return the version text of a tool, for example ``pg_dump (PostgreSQL) 17.5``."""
    answer = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=30, check=True)
    return answer.stdout.strip()


def packs_with(pg_dump: Path, method: str) -> bool:
    """Return whether this build of pg_dump has a compression method, which it checks before it connects."""
    nowhere = ["--format=custom", "--file=/dev/null", "--dbname=host=/nowhere", "--no-password"]
    answer = subprocess.run(
        [str(pg_dump), f"--compress={method}", *nowhere],
        capture_output=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment_of_tools(),
    )
    return b"compress" not in answer.stderr


class Tool:
    """A running client tool."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], secrets: Mapping[str, Any]) -> None:
        self._process = process
        self._errors = errors
        self._secrets = secrets

    @property
    def output(self) -> IO[bytes]:
        """The standard output of a tool that was started with ``read=True``."""
        if self._process.stdout is None:
            raise ValueError("the tool was not started with read=True")
        return self._process.stdout

    def running(self) -> bool:
        """Return whether the tool is still running."""
        return self._process.poll() is None

    def finish(self, doing: str, timeout_seconds: float | None = None) -> str:
        """Wait until the tool ends, and return its standard error.

        :raises RunbookError: it failed or took longer than ``timeout_seconds``.
        """
        try:
            code = exit_status(self._process, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise RunbookError(f"{doing} took longer than {timeout_seconds:g} s and was stopped.") from error
        self._errors.seek(0)
        text = scrub(self._errors.read().decode("utf-8", "replace"), self._secrets).strip()
        if code != 0:
            raise RunbookError(f"{doing} failed with exit status {code}: {why(text)}.")
        return text


def exit_status(process: subprocess.Popen[bytes], timeout_seconds: float | None) -> int:
    """Wait for the end of a process. With a timeout Python would look for it every 50 ms, as it does on other systems.

    :raises TimeoutExpired: it has not ended.
    """
    if timeout_seconds is None or process.returncode is not None or sys.platform != "linux":
        return process.wait(timeout_seconds)
    descriptor = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.select(timeout_seconds)
    finally:
        os.close(descriptor)
    return process.wait(0)


@contextlib.contextmanager
def start_tool(
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    read: bool = False,
    send: bytes = b"",
) -> Iterator[Tool]:
    """Run a client tool; stop it if the block ends first.

    :param environment: from ``client_environment``; None for a tool that does not connect to a server.
    :param read: let the block read its standard output.
    :param send: contents of its standard input, a file that options can name as ``/dev/stdin``.
    """
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as sent:
        sent.write(send)
        sent.seek(0)
        process = subprocess.Popen(
            list(argv),
            env=dict(environment) if environment is not None else environment_of_tools(),
            stdin=sent,
            stdout=subprocess.PIPE if read else subprocess.DEVNULL,
            stderr=errors,
        )
        if process.stdout is not None:
            _widen(process.stdout)
        try:
            yield Tool(process, errors, {"password": (environment or {}).get("PGPASSWORD")})
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # above the system's limit; a smaller pipe is only slower
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _candidates(name: str, major: int, tools_directory: str | None) -> Iterator[str]:
    if tools_directory:
        yield os.path.join(tools_directory, name)
        return
    on_path = shutil.which(name)
    yield on_path or f"PATH/{name}"
    for directory in INSTALL_PATHS:
        yield os.path.join(directory.format(major=major), name)
    package, folder = WHEELS.get(major, ("", ""))
    if package:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations if spec else None) or [f"Python package {package}"]:
            yield os.path.join(location, folder, "bin", name)
