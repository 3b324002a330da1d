"""Write, read and verify the manifest of a backup: its contents, its origin and the checksums of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import RunbookError
from ..plain import to_plain
from ..private_files import read_json, write_json
from .archive import Archive, files_of, size_on_disk
from .tools import find_tool

MANIFEST_FILE = "manifest.json"
MANIFEST_VERSION = 1

#: Files hashed at the same time.
HASHING_THREADS = 2

Manifest = dict[str, Any]

_REPLACE = "restore the directory from your copy of it, or take a new backup: ansible-playbook playbooks/backup.yml"


def described_files(directory: str, archive_path: str) -> list[dict[str, Any]]:
    """Return path (below the directory), size and SHA-256 of each of the archive's files."""
    return _each(lambda path: _described(directory, path), files_of(archive_path))


def write(directory: str, archive_path: str, files: list[dict[str, Any]], facts: Manifest) -> Manifest:
    """Write manifest.json into the directory: the facts, and the archive's files from ``described_files``."""
    manifest: Manifest = to_plain(
        {
            "manifest_version": MANIFEST_VERSION,
            **facts,
            "archive": os.path.relpath(archive_path, directory),
            "total_bytes": size_on_disk(archive_path),
            "files": files,
        }
    )
    write_json(os.path.join(directory, MANIFEST_FILE), manifest)
    return manifest


def read(directory: str) -> Manifest:
    """Read a backup's manifest without checking the files that it lists.

    :raises RunbookError: it does not exist or is damaged.
    """
    path = os.path.join(directory, MANIFEST_FILE)
    manifest = read_json(path, "the backup's manifest", _REPLACE)
    if manifest.get("manifest_version") != MANIFEST_VERSION:
        raise RunbookError(
            f"{path} has manifest_version {manifest.get('manifest_version')!r}; this runbook reads {MANIFEST_VERSION}.",
            object_name=path,
            next_command="use the version of the runbook that wrote it",
        )
    return manifest


def verify(directory: str) -> Manifest:
    """Compare every file with the manifest, and return the manifest.

    :raises RunbookError: files are missing or damaged; the message lists them.
    """
    manifest = read(directory)
    problems = _each(lambda entry: _problem(directory, entry), manifest["files"])
    wrong = [problem for problem in problems if problem]
    if wrong:
        raise RunbookError(
            f"the backup {directory} cannot be used: " + "; ".join(f"{name} {what}" for name, what in wrong) + ".",
            object_name=os.path.join(directory, wrong[0][0]),
            next_command=_REPLACE,
            facts={"damaged_files": [name for name, _ in wrong]},
        )
    return manifest


def archive_of(directory: str, manifest: Manifest, tools_directory: str | None) -> Archive:
    """Return the backup's archive with the tool that reads it.

    :raises RunbookError: pg_restore of the version that wrote it is not installed.
    """
    tool = find_tool("pg_restore", manifest["server"]["major"], tools_directory)
    return Archive(os.path.join(directory, manifest["archive"]), tool)


def sha256_of(path: str) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _each(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Run work for each item in threads: hashing releases the GIL."""
    with ThreadPoolExecutor(max_workers=HASHING_THREADS) as pool:
        return list(pool.map(work, items))


def _described(directory: str, path: str) -> dict[str, Any]:
    return {"path": os.path.relpath(path, directory), "bytes": os.path.getsize(path), "sha256": sha256_of(path)}


def _problem(directory: str, entry: dict[str, Any]) -> tuple[str, str] | None:
    path = os.path.join(directory, entry["path"])
    try:
        size = os.path.getsize(path)
        if size != entry["bytes"]:
            return entry["path"], f"has {size} bytes, the manifest says {entry['bytes']}"
        if sha256_of(path) != entry["sha256"]:
            return entry["path"], "has been changed: its SHA-256 differs from the manifest"
    except FileNotFoundError:
        return entry["path"], "is missing"
    except OSError as error:
        return entry["path"], f"cannot be read: {error.strerror}"
    return None
