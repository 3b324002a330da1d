"""Direct sessions and session mode are fine; a transaction pooler is refused before anything is set in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.database.pooler import PoolerError
from support.servers import Server, connect

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


@contextlib.contextmanager
def pooler(server: Server, mode: str) -> Iterator[dict[str, Any]]:
    """PgBouncer in front of the server, as an ordinary user (it refuses to run as root)."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bouncer-", dir="/tmp"))
    direct = server.options
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (directory / "users.txt").write_text(f'"{direct["user"]}" ""\n')
    (directory / "bouncer.ini").write_text(
        f"[databases]\n* = host={direct['host']} port={direct['port']} user={direct['user']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"auth_file = {directory}/users.txt\npool_mode = {mode}\nlogfile = {directory}/log\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    directory.chmod(0o755)
    process = subprocess.Popen(
        [str(PGBOUNCER), str(directory / "bouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
    )
    try:
        options = {**direct, "host": "127.0.0.1", "port": port}
        wait_for(options, directory / "log")
        yield options
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


def wait_for(options: dict[str, Any], log: pathlib.Path) -> None:
    for _ in range(100):
        with contextlib.suppress(psycopg2.OperationalError), connect(options):
            return
        time.sleep(0.1)
    raise AssertionError(f"pgbouncer did not answer: {log.read_text() if log.exists() else 'no log'}")


def test_a_transaction_pooler_is_refused_and_nothing_stays_behind_in_it(server: Server) -> None:
    with pooler(server, "transaction") as options:
        refusal = pytest.raises(PoolerError, match="leads through a transaction pooler: two connections")
        with refusal as caught, session(options, SessionSettings()):
            pass
        assert caught.value.next_command.startswith("use the direct port (5432) or the pooler's session mode")
        with connect(options) as application, application.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.current_setting('search_path')")
            assert cursor.fetchone() != ("pg_catalog",)


def test_the_environment_finding_names_the_pooler(server: Server, run_module: Any, tmp_path: pathlib.Path) -> None:
    with pooler(server, "transaction") as options:
        result = run_module("pg_environment_info", connection=options, plan={})
        assert result["failed"]
        (finding,) = result["findings"]
        assert (finding["name"], finding["severity"]) == ("transaction_pooler", "blocking")
        assert "transaction pooler" in result["msg"]


def test_session_mode_is_accepted(server: Server) -> None:
    with (
        pooler(server, "session") as options,
        session(options, SessionSettings()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT current_setting('search_path')")
        assert cursor.fetchone() == ("pg_catalog",)


def test_a_direct_session_is_accepted(server: Server) -> None:
    with session(server.options, SessionSettings()) as connection:
        assert connection.closed == 0
