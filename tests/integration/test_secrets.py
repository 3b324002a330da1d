"""Passwords and tokens: none is printed or kept anywhere, and one that is a word of the output changes nothing."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql
from support.fixtures import POSTGRES
from support.playbooks import Operator, Outcome
from support.servers import REPOSITORY, Options, Server, connect, load_demo, query, running_server, value

Run = Callable[..., dict[str, Any]]

PASSWORD = "{{ lookup('ansible.builtin.env', 'CANARY_PASSWORD') }}"

WORDS = ["postgres", "public", "tracks", "true", "complete", "1", "artifacts"]
ODD = [
    "with space",
    " ends with space ",
    'quote\'s "double" back\\slash',
    "{{ 7 * 7 }} {% raw %}",
    "colon:slash/at@percent%41",
    "!leading #hash",
    "two\nlines",
    "grüße 東京",
    "$HOME `id` $(id) ;",
]


@pytest.fixture(scope="module")
def asking() -> Iterator[Server]:
    """A server that asks for passwords, with a database to copy."""
    with running_server(POSTGRES, listen=True, password="not what the tests look for") as server:
        load_demo(server.create_database(name="filled"), audio_posts=40)
        yield server


@pytest.fixture
def asked(asking: Server) -> Iterator[Options]:
    """Options of the owner over TCP for a database of its own, without a password."""
    options = asking.create_database("filled")
    yield {**options, "host": "127.0.0.1", "connect_timeout_seconds": 10}
    asking.drop_database(options)


def set_password(server: Server, password: str) -> None:
    with connect(server.superuser_options) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(password)))


@contextmanager
def processes_watched(*wanted: str) -> Iterator[list[str]]:
    """Look at the arguments of every process of the machine for the time of the block."""
    found: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    arguments = path.read_bytes().decode(errors="replace")
                except OSError:
                    continue
                found.extend(f"{path}: {arguments}" for word in wanted if word in arguments)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def files_with(word: str, *directories: Path) -> list[str]:
    files = (path for directory in directories for path in directory.rglob("*") if path.is_file())
    return [str(path) for path in files if word.encode() in path.read_bytes()]


def journal_with(options: Options, word: str) -> list[str]:
    journal = (
        "SELECT oid::regclass::text FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'migration_runbook'::regnamespace"
    )
    tables = query(options, journal)
    assert len(tables) > 5
    return [name for (name,) in tables
            if value(options, f"SELECT count(*) FROM {name} t WHERE strpos(t::text, %s) > 0", (word,))]  # fmt: skip


def test_no_secret_is_printed_or_kept(
    asking: Server, asked: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, token, wrong = (f"canary-{secrets.token_hex(8)}" for _ in range(3))
    set_password(asking, password)
    monkeypatch.setenv("CANARY_PASSWORD", password)
    # The hook prints its secret, and fails the second time with it in its message.
    hook = [sys.executable, "-c", "import os; print('stopped with', os.environ['TOKEN'])"]
    operator = Operator(
        tmp_path,
        {**asked, "password": PASSWORD},
        database_backup_restore_drill=True,
        application_control_stop={"command": hook},
        application_control_start={"command": hook},
        application_control_hook={"environment": {"TOKEN": "{{ lookup('ansible.builtin.env', 'CANARY_TOKEN') }}"}},
    )
    monkeypatch.setenv("CANARY_TOKEN", token)
    outcomes: list[Outcome] = []
    with processes_watched(password, token, wrong) as seen:
        outcomes.append(operator.type("migrate.yml", "-vvv", "-e", "migration_execution_strategy=offline"))
        assert outcomes[0].status == 0, outcomes[0].screen[-3000:]
        assert "complete" in outcomes[0].text
        outcomes.append(operator.type("rollback.yml", "-vvv"))
        monkeypatch.setenv("CANARY_PASSWORD", wrong)
        outcomes.append(operator.type("playbooks/status.yml", "-vvv"))
        assert outcomes[-1].status != 0
        assert "password authentication failed" in outcomes[-1].text
    assert seen == []
    here = {**asked, "host": asking.facts["host"]}
    for word in (password, token, wrong):
        assert [number for number, outcome in enumerate(outcomes) if word in outcome.screen] == []
        assert files_with(word, tmp_path, REPOSITORY / ".ansible") == []
        assert word not in Path(asking.facts["log_file"]).read_text(errors="replace")
        assert journal_with(here, word) == []
    # The examined files exist.
    assert "'password': 'VALUE_SPECIFIED_IN_NO_LOG_PARAMETER'" in outcomes[0].screen.replace('"', "'") or (
        "password: VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in outcomes[0].screen
    )
    assert len(list(operator.artifacts.rglob("*"))) > 20


def test_a_migration_whose_password_is_part_of_every_version_and_number(
    asking: Server, asked: Options, tmp_path: Path
) -> None:
    set_password(asking, "1")
    operator = Operator(tmp_path, {**asked, "password": "1"})
    outcome = operator.type("migrate.yml")
    assert outcome.status == 0, outcome.screen[-3000:]
    said = [line for line in outcome.screen.splitlines() if not line.startswith(("TASK [", "PLAY "))]
    assert "*****" not in "".join(said)
    assert "NO_LOG" not in "".join(said)
    report = operator.report()
    assert report["state"] == "complete"
    assert "***" not in json.dumps(report)
    assert sorted(path.name for path in operator.artifacts.iterdir()) == ["local"]
    assert (operator.runs()[-1] / "backup" / "manifest.json").is_file()


def test_pins_can_be_pasted_where_the_password_is_the_database_name(asking: Server, tmp_path: Path) -> None:
    set_password(asking, "postgres")
    options = {**asking.options, "host": "127.0.0.1", "password": "postgres"}
    outcome = Operator(tmp_path, options, runbook_environment="staging").type("playbooks/preflight.yml")
    identifier = value(asking.options, "SELECT system_identifier FROM pg_control_system()")
    assert f'database_expected: {{system_identifier: "{identifier}", database: postgres}}' in outcome.screen


@pytest.mark.parametrize("password", [*WORDS, *ODD])
def test_every_password_reaches_the_server_and_the_client_tools(
    asking: Server, asked: Options, run_module: Run, tmp_path: Path, password: str
) -> None:
    set_password(asking, password)
    directory = tmp_path / "public" / "tracks"
    result = run_module(
        "pg_backup",
        connection={**asked, "password": password},
        directory=str(directory),
        schemas=["auth"],
        minimum_bytes=0,
    )
    assert not result["failed"], result["msg"]
    assert result["directory"] == str(directory)
    assert "***" not in json.dumps(result)


def test_a_password_that_yaml_reads_as_something_else_is_refused(asked: Options, tmp_path: Path) -> None:
    # 0123 in YAML
    outcome = Operator(tmp_path, {**asked, "password": 83}).type("playbooks/status.yml")
    assert outcome.status != 0
    assert "database_connection.password is not a string: YAML reads it as int" in outcome.text
    assert "Nothing was changed" in outcome.text
    assert "quotation marks" in outcome.text
