"""Write files with production rows: mode 0600 in directories 0700, complete or absent."""

from __future__ import annotations

import fcntl
import glob
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from .errors import RunbookError
from .plain import to_plain


@contextmanager
def complete_directory(path: str) -> Iterator[str]:
    """Give the block a new directory that is renamed to ``path`` if the block ends without an error.

    :raises RunbookError: ``path`` exists when the block begins or ends.
    """
    path = os.path.abspath(path)
    _refuse_existing(path)
    parent, prefix = os.path.dirname(path), f".{os.path.basename(path)}.partial-"
    make_directories(parent)
    _remove_left_behind(os.path.join(parent, prefix))
    # Beside the target: a rename must not cross file systems.
    partial = tempfile.mkdtemp(dir=parent, prefix=prefix)
    used = os.open(partial, os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_EX)  # for as long as this process lives
    try:
        yield partial
        _refuse_existing(path)
        os.rename(partial, path)
    except BaseException:
        # It is missing if the block has renamed it.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(used)


def make_directories(path: str) -> None:
    """Create a directory and its missing parents, all with mode 0700 (makedirs sets it only on the last one)."""
    before = os.umask(0o077)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    finally:
        os.umask(before)


def set_aside(path: str, name: str) -> str:
    """Rename a directory to ``name``, or to ``name-2`` and so on if that exists. Return its new path."""
    candidates = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    free = next(candidate for candidate in candidates if not os.path.lexists(candidate))
    os.rename(path, free)
    return free


def make_private(path: str) -> None:
    """Set mode 0600 on files and 0700 on directories, at ``path`` and below."""
    os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            make = os.path.join(folder, name)
            os.chmod(make, 0o700 if os.path.isdir(make) else 0o600)


@contextmanager
def private_file(path: str) -> Iterator[BinaryIO]:
    """Open a new file for writing, mode 0600 from its first byte."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file


def replace_file(path: str, text: str) -> None:
    """Write a file, mode 0600, atomically; an existing one is replaced. Missing directories are created."""
    directory = os.path.dirname(path)
    make_directories(directory)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".partial-")
    # Bytes of a database without an encoding are written unchanged.
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
    os.replace(temporary, path)


def write_json(path: str, value: Any) -> None:
    """Write a new file with the value as JSON."""
    with private_file(path) as file:
        file.write(json.dumps(to_plain(value), indent=2).encode() + b"\n")


def read_json(path: str, what: str, next_command: str = "") -> dict[str, Any]:
    """Read a JSON file that contains an object.

    :raises RunbookError: it is missing, unreadable, or not JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise RunbookError(
            f"{what} cannot be read: {path}: {error.strerror}.", object_name=path, next_command=next_command
        ) from error
    except ValueError as error:
        raise RunbookError(
            f"{what} is damaged: {path} is not JSON: {error}.", object_name=path, next_command=next_command
        ) from error
    if not isinstance(value, dict):
        raise RunbookError(
            f"{what} is damaged: {path} does not contain an object.", object_name=path, next_command=next_command
        )
    return value


def _remove_left_behind(prefix: str) -> None:
    """Remove what killed processes left: nobody holds its lock."""
    for partial in glob.glob(f"{glob.escape(prefix)}*"):
        used = os.open(partial, os.O_RDONLY)
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # at work
        else:
            shutil.rmtree(partial, ignore_errors=True)
        finally:
            os.close(used)


def _refuse_existing(path: str) -> None:
    if os.path.lexists(path):
        raise RunbookError(f"{path} already exists and is not overwritten.", object_name=path)
