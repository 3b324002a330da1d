"""The programs of an embedded server: make its data directory, write its settings, start it, each as its account."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from ..errors import RunbookError
from .directory import account, give_to_account

if TYPE_CHECKING:
    from .server import Wanted


def initialise(wanted: Wanted, facts: dict[str, Any]) -> None:
    """Make the data directory: complete under its name, or not there."""
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
        raise RunbookError(f"not a server parameter: {', '.join(bad)}.", object_name="settings")
    # Outside the data directory: root must not write where the server's account could put a link.
    with open(config_file(facts["runtime_directory"]), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.writelines(f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in values.items())


def launch(facts: dict[str, Any], timeout_seconds: int) -> None:
    """Start the server and wait until it accepts connections."""
    command = ["pg_ctl", "start", "-s", "-w", "-t", str(timeout_seconds), "-D", facts["data_directory"]]
    command += ["-l", facts["log_file"], "-o", f"-c config_file={shlex.quote(config_file(facts['runtime_directory']))}"]
    run_program(facts, command, timeout_seconds + 10)


def run_program(facts: dict[str, Any], command: list[str], timeout_seconds: float) -> None:
    """Run a program of the server as its account, with none of the caller's PG* variables."""
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
