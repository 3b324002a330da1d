"""Start the server of a benchmark, and create its databases: a template per size, a copy per measurement."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.runbook.embedded import server as embedded
from psycopg2 import sql
from support.servers import DEMO_SQL, OWNER, SUPERUSER, Options, Server, connect, load_demo, value

from .turn import Turn

#: Like production: durable, with autovacuum and logical decoding. The memory can be chosen.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "logical",
    "autovacuum": "on",
    "max_connections": "60",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
}
MEMORY = {
    "default": {"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB"},
    "small": {"shared_buffers": "256MB", "max_wal_size": "1GB", "maintenance_work_mem": "64MB"},
}


def settings_of(memory: str, major: int) -> dict[str, str]:
    """Return the server's settings."""
    copying = {"file_copy_method": "copy"} if major >= 18 else {}
    return {**SETTINGS, **MEMORY[memory], **copying}


@contextlib.contextmanager
def running_server(major: int, memory: str) -> Iterator[Server]:
    """Run a server with a Unix socket in a temporary directory; stop it and remove everything at the end."""
    runtime = tempfile.mkdtemp(prefix="pg-bench-", dir="/tmp")
    try:
        facts = embedded.start(
            embedded.Wanted(runtime, major, superuser=SUPERUSER, settings=settings_of(memory, major))
        )
        facts["host"] = facts["socket_directory"]
        server = Server(facts)
        with connect(server.superuser_options) as connection, connection.cursor() as cursor:
            cursor.execute((DEMO_SQL / "roles.sql").read_text(encoding="utf-8"))
        yield server
    finally:
        if (Path(runtime) / embedded.MARKER).exists():
            embedded.stop(runtime)
        shutil.rmtree(runtime, ignore_errors=True)


@contextlib.contextmanager
def template(server: Server, audio_posts: int, turn: Turn) -> Iterator[str]:
    """Load the demo's schema and rows once; drop the database at the end.

    Others can copy the recipe: roles.sql once per server, then load_demo of tests/support/servers.py.
    """
    name = f"template_{audio_posts}"
    with copy_of(server, "template0", name) as options:
        with turn:
            load_demo(options, audio_posts)
        yield name


@contextlib.contextmanager
def copy_of(server: Server, source: str, name: str = "measured") -> Iterator[Options]:
    """Copy a database, yield its owner's connection options, and drop it at the end."""
    with connect(server.superuser_options) as connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(source), sql.Identifier(OWNER)
            )
        )
    options = server.options_for(name)
    try:
        yield options
    finally:
        server.drop_database(options)


def settle(options: Options) -> None:
    """Run a checkpoint, so that no measurement pays for the writes of an earlier one."""
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")


def wal_position(options: Options) -> int:
    """Return how many bytes of WAL the server has written."""
    return int(value(options, "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"))
