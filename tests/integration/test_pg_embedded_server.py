"""pg_embedded_server starts a server of its own, describes it truly, and removes it with everything it made."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from ansible.module_utils.runbook.embedded import server as embedded
from support.fixtures import POSTGRES
from support.modules import run_module
from support.servers import query, value


@pytest.fixture
def runtime() -> Iterator[str]:
    """A path below /tmp where nothing is yet; whatever runs there at the end is stopped."""
    path = f"/tmp/pg-test-{secrets.token_hex(4)}"
    yield path
    if os.path.exists(os.path.join(path, embedded.MARKER)):
        embedded.stop(path)
    shutil.rmtree(path, ignore_errors=True)


def start(runtime: str, **params) -> dict:
    settings = {"fsync": "off", "shared_buffers": "16MB", **params.pop("settings", {})}
    return run_module(
        "pg_embedded_server", runtime_directory=runtime, version=POSTGRES, server_parameters=settings, **params
    )


def remove(runtime: str, **params) -> dict:
    return run_module("pg_embedded_server", runtime_directory=runtime, state="absent", **params)


def options(result: dict) -> dict:
    server = result["server"]
    return {"host": server["socket_directory"], "port": server["port"], "dbname": "postgres", "user": "postgres"}


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} did not end"
        time.sleep(0.02)


def test_start_and_remove_in_six_steps(runtime: str) -> None:
    would = start(runtime, _check=True)
    assert (would["changed"], would["msg"]) == (True, f"{runtime}: would be started")
    assert not os.path.exists(runtime)

    started = start(runtime)
    assert (started["changed"], started["msg"]) == (True, f"{runtime}: started")
    server = started["server"]
    assert server["major"] == POSTGRES
    assert value(options(started), "SHOW server_version").split()[0] == server["version"]
    assert value(options(started), "SHOW data_directory") == server["data_directory"]
    assert int(Path(server["data_directory"], "postmaster.pid").read_text().splitlines()[0]) == server["pid"]

    again = start(runtime)
    assert (again["changed"], again["msg"]) == (False, f"{runtime}: already running")
    assert again["server"] == server

    would = remove(runtime, _check=True)
    assert (would["changed"], would["msg"]) == (True, f"{runtime}: would be stopped and removed")
    assert value(options(started), "SELECT 1") == 1

    removed = remove(runtime)
    assert (removed["changed"], removed["msg"]) == (True, f"{runtime}: stopped and removed")
    assert not os.path.exists(runtime)
    wait_until_gone(server["pid"])
    assert removed["server"]["pid"] == 0
    assert set(removed["server"]) == set(server)

    nothing = remove(runtime)
    assert (nothing["changed"], nothing["msg"]) == (False, f"{runtime}: there was no server")


def test_only_the_socket_is_open_and_only_for_its_account(runtime: str) -> None:
    started = start(runtime)
    assert value(options(started), "SHOW listen_addresses") == ""
    socket_path = Path(runtime, "socket", ".s.PGSQL.5432")
    assert socket_path.stat().st_mode & 0o777 == 0o700
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700


def test_a_password_is_asked_over_tcp(runtime: str) -> None:
    started = start(runtime, listen=True, password="long and unlike any name 4711", superuser="owner")
    server = started["server"]
    assert (server["host"], server["superuser"]) == ("127.0.0.1", "owner")
    assert server["port"] > 1023
    tcp = {"host": "127.0.0.1", "port": server["port"], "dbname": "postgres", "user": "owner"}
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query({**tcp, "password": "wrong"}, "SELECT 1")
    assert value({**tcp, "password": "long and unlike any name 4711"}, "SELECT 1") == 1
    left = subprocess.run(["grep", "-rl", "unlike any name", runtime], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_a_killed_server_is_started_again_on_its_data(runtime: str) -> None:
    first = start(runtime)
    query(options(first), "CREATE TABLE public.kept AS SELECT 42 AS answer")
    query(options(first), "CHECKPOINT")
    os.kill(first["server"]["pid"], signal.SIGKILL)
    wait_until_gone(first["server"]["pid"])
    second = start(runtime)
    assert second["changed"] is True
    assert second["server"]["pid"] not in (0, first["server"]["pid"])
    assert value(options(second), "SELECT answer FROM public.kept") == 42


def test_a_vanished_server_is_removed_without_an_error(runtime: str) -> None:
    started = start(runtime)
    os.kill(started["server"]["pid"], signal.SIGKILL)
    wait_until_gone(started["server"]["pid"])
    assert remove(runtime)["changed"] is True
    assert not os.path.exists(runtime)


def test_a_stale_process_id_harms_no_other_process(runtime: str) -> None:
    embedded_directory = Path(runtime)
    (embedded_directory / "data").mkdir(parents=True)
    embedded_directory.chmod(0o700)
    (embedded_directory / embedded.MARKER).write_text("{}")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (embedded_directory / "data" / "postmaster.pid").write_text(f"{bystander.pid}\n")
        assert remove(runtime)["changed"] is True
        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_an_interrupted_start_is_taken_up_again(runtime: str) -> None:
    Path(runtime, "data.partial", "base").mkdir(parents=True)
    Path(runtime).chmod(0o700)
    Path(runtime, embedded.MARKER).write_text("{}")
    started = start(runtime)
    assert started["changed"] is True
    assert value(options(started), "SELECT 1") == 1
    assert not os.path.exists(os.path.join(runtime, "data.partial"))


def test_a_setting_the_server_refuses_is_named_with_its_log(runtime: str) -> None:
    failed = start(runtime, settings={"shared_buffers": "plenty"})
    assert failed["failed"] is True
    assert "pg_ctl failed with status 1" in failed["msg"]
    assert 'invalid value for parameter "shared_buffers": "plenty"' in failed["msg"]
    assert failed["next_command"] == f"look into {runtime}/log/server.log"
    # Repaired, it starts.
    assert start(runtime)["changed"] is True


def test_a_name_that_is_no_parameter_is_refused(runtime: str) -> None:
    failed = start(runtime, settings={"port = 1\nlisten_addresses": "*"})
    assert "not a server parameter: port = 1" in failed["msg"]


def test_another_version_in_the_directory_is_refused(runtime: str) -> None:
    Path(runtime).mkdir(mode=0o700)
    Path(runtime, embedded.MARKER).write_text('{"major": 9}')
    for check in (True, False):
        failed = start(runtime, _check=check)
        assert failed["msg"] == (
            f"{runtime} contains a PostgreSQL 9 server, but {POSTGRES} is requested. Nothing was changed. "
            "Next: stop and remove it first (make stop)"
        )


def test_a_directory_with_other_things_is_left_alone(runtime: str) -> None:
    Path(runtime).mkdir(mode=0o700)
    Path(runtime, "holiday.jpg").write_text("precious")
    for result in (start(runtime), remove(runtime), remove(runtime, _check=True)):
        assert result["failed"] is True
        assert f"{runtime} is not empty and was not made for an embedded server" in result["msg"]
        assert result["next_command"] == "choose another runtime directory"
    assert Path(runtime, "holiday.jpg").read_text() == "precious"


def test_a_link_is_refused(runtime: str, tmp_path: Path) -> None:
    os.symlink(tmp_path, runtime)
    try:
        for result in (start(runtime), remove(runtime)):
            assert f"the runtime directory {runtime} is not a directory" in result["msg"]
            assert f"ls -ld {runtime}" in result["next_command"]
    finally:
        os.unlink(runtime)


def test_a_directory_that_others_can_write_is_refused(runtime: str) -> None:
    Path(runtime).mkdir()
    Path(runtime).chmod(0o777)
    assert f"the runtime directory {runtime} can be written by others" in start(runtime)["msg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of somebody else")
def test_a_directory_of_somebody_else_is_refused(runtime: str) -> None:
    Path(runtime).mkdir(mode=0o700)
    os.chown(runtime, 65534, 65534)
    for result in (start(runtime), remove(runtime)):
        assert f"the runtime directory {runtime} belongs to user id 65534, not to you (0)" in result["msg"]


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    runtime = f"/tmp/{'long-' * 20}"
    failed = start(runtime)
    assert f"the socket path {runtime}/socket/.s.PGSQL.5432 is longer than 107 bytes" in failed["msg"]
    assert failed["next_command"] == "choose a shorter runtime directory"
    assert not os.path.exists(runtime)


def test_a_version_that_is_not_installed_is_refused(runtime: str) -> None:
    failed = run_module("pg_embedded_server", runtime_directory=runtime, version=9)
    assert failed["msg"].startswith("no PostgreSQL 9 found on this machine: looked for /usr/lib/postgresql/9/bin")
    assert failed["next_command"] == "install it, or set bin_directory to the folder of its programs"
    assert not os.path.exists(runtime)


def test_a_folder_without_a_server_is_refused(runtime: str, tmp_path: Path) -> None:
    failed = start(runtime, bin_directory=str(tmp_path))
    assert (
        f"{tmp_path} contains no PostgreSQL server: initdb, pg_ctl, postgres missing or not executable" in failed["msg"]
    )
    assert failed["next_command"] == "set bin_directory to the folder that contains initdb, pg_ctl and postgres"


def test_a_folder_of_another_version_is_refused(server, runtime: str) -> None:
    failed = run_module("pg_embedded_server", runtime_directory=runtime, version=9, bin_directory=server.bin_directory)
    assert f"{server.bin_directory} contains PostgreSQL {POSTGRES}, not 9" in failed["msg"]
    assert failed["next_command"] == f"ask for version {POSTGRES}, or give the folder of a PostgreSQL 9"


def test_a_path_with_a_space_serves(runtime: str) -> None:
    spaced = f"{runtime} x"
    try:
        assert value(options(start(spaced)), "SELECT 1") == 1
    finally:
        assert remove(spaced)["changed"] is True


def test_a_given_folder_is_used_where_it_is(server, runtime: str) -> None:
    started = start(runtime, bin_directory=server.bin_directory)
    assert started["server"]["bin_directory"] == server.bin_directory
    assert not os.path.exists(os.path.join(runtime, "software"))
    assert value(options(started), "SELECT 1") == 1
