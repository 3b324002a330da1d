"""Synchronous standbys for tests, configured on the server, and connected or not."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from psycopg2 import sql

from support.servers import Options, Server, connect, value


def set_standbys(server: Server, names: str) -> None:
    """Change synchronous_standby_names and wait until the server acts on it."""
    with connect(server.superuser_options) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(names)))
        cursor.execute("SELECT pg_reload_conf()")
    for _ in range(100):
        if value(server.superuser_options, "SHOW synchronous_standby_names") == names:
            time.sleep(0.2)  # the checkpointer signals committing sessions
            return
        time.sleep(0.02)
    raise AssertionError("the server did not take the setting")


def confirm_commits(server: Server, options: Options) -> None:
    """Let commits in this database wait for standbys; the test server's setting does not."""
    with connect(server.superuser_options) as connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = on").format(sql.Identifier(options["dbname"]))
        )


@contextlib.contextmanager
def standby(server: Server, name: str, directory: Path) -> Iterator[None]:
    """Connect a WAL receiver that confirms what it has written, like a synchronous standby of this name."""
    options = server.superuser_options
    receiver = subprocess.Popen(
        [
            str(Path(server.bin_directory) / "pg_receivewal"),
            *("--directory", str(directory), "--synchronous", "--no-loop", "--no-password"),
            *("--dbname", f"host={options['host']} port={options['port']} user={options['user']}"
              f" application_name='{name}'"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(200):
            seen = "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
            if value(options, seen, (name,)):
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the receiver did not connect")
        yield
    finally:
        receiver.terminate()
        receiver.wait(10)
