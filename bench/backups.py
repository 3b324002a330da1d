"""Compare our backup and restore with pg_dump and pg_restore, for each compression that the tools support."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.backup.tools import find_tool, tool_environment
from ansible.module_utils.runbook.plan.loader import load_plan
from psycopg2 import sql
from support.modules import run_module
from support.servers import SUPERUSER, Options, Server, connect

from .contenders import PLAN_DIRECTORY, Outcome
from .server import copy_of, settle
from .turn import Turn

JOBS = 2
HISTORY = "supabase_migrations"


def compressions(major: int) -> list[str]:
    """Return the compressions that pg_dump of this version supports, in the notation of pg_backup."""
    return ["none", "gzip:1", "gzip:6", *(["lz4", "zstd:1", "zstd"] if major >= 16 else [])]


def measure(server: Server, template: str, turn: Turn) -> Iterator[tuple[str, Outcome]]:
    """Measure every compression."""
    with copy_of(server, template) as options:
        for compression in compressions(server.major):
            with turn, tempfile.TemporaryDirectory(prefix="bench-backup-") as directory:
                settle(options)
                outcome = one(server, template, options, Path(directory), compression)
            yield compression, outcome


def one(server: Server, template: str, options: Options, directory: Path, compression: str) -> Outcome:
    """Dump and load the same rows with our modules and with the bare tools."""
    plan = load_plan(str(PLAN_DIRECTORY))
    tables = [table["table"] for table in plan["protected_tables"]]
    parts: dict[str, float] = {}

    started = time.monotonic()
    bare = directory / "bare"
    method, _, level = compression.partition(":")
    value = "0" if method == "none" else level if method == "gzip" else compression
    schemas = [f"--schema={name}" for name in (*plan["schemas"], HISTORY)]
    run_tool(server, options, "pg_dump", "-Fd", f"-j{JOBS}", f"--compress={value}", f"--file={bare}", *schemas)
    parts["pg_dump"] = time.monotonic() - started

    started = time.monotonic()
    ours = directory / "ours"
    taken = run_module(
        "pg_backup", connection=options, directory=str(ours), schemas=plan["schemas"], tables=tables, jobs=JOBS,
        compression=compression, minimum_bytes=1,
    )  # fmt: skip
    parts["pg_backup"] = time.monotonic() - started
    if taken["failed"]:
        return Outcome(0.0, parts, failure=taken["msg"])

    with scratch(server, template) as target:
        settle(target)
        started = time.monotonic()
        run_tool(server, {**target, "user": SUPERUSER}, "pg_restore", f"-j{JOBS}", f"--dbname={target['dbname']}", bare)
        parts["pg_restore"] = time.monotonic() - started

    settle(options)
    started = time.monotonic()
    restored = run_module(
        "pg_restore", connection=options, backup_directory=str(ours), tables=plan["protected_tables"], jobs=JOBS
    )
    parts["restore_in_place"] = time.monotonic() - started
    if restored["failed"]:
        return Outcome(0.0, parts, failure=restored["msg"])
    parts["load"] = restored["load_seconds"]
    details: dict[str, Any] = {
        "bytes": sum(path.stat().st_size for path in bare.rglob("*") if path.is_file()),
        "pg_backup": {name: taken["manifest"].get(name) for name in ("dump_seconds", "seconds", "compression")},
    }
    return Outcome(parts["pg_backup"] + parts["load"], parts, details)


def scratch(server: Server, template: str) -> Any:
    """Create a database with everything except the backup's contents: pg_restore finds what its keys reference."""
    return _Emptied(server, template)


class _Emptied:
    def __init__(self, server: Server, template: str) -> None:
        self._copy = copy_of(server, template, "scratch")

    def __enter__(self) -> Options:
        options = self._copy.__enter__()
        with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
            for schema in ("public", HISTORY):
                cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        return options

    def __exit__(self, *error: Any) -> None:
        self._copy.__exit__(*error)


def run_tool(server: Server, options: Options, name: str, *arguments: str | Path) -> None:
    """Run a client tool of the server's version.

    :raises subprocess.CalledProcessError: it failed; the exception has its output.
    """
    command = [str(find_tool(name, server.major, server.bin_directory)), *map(str, arguments)]
    # The owner of the tables is exempt from row-level security; the bare tool gets no timeout either.
    environment = {**tool_environment(options, "bench"), "PGOPTIONS": "-c statement_timeout=0"}
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
