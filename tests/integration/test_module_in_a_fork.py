"""A module gives the same result in a fork of the worker and in a Python process that Ansible starts for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.servers import Options

REPOSITORY = Path(__file__).resolve().parents[2]


def call(module: str, arguments: dict[str, Any], interpreter: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible", "-i", "localhost,", "-c", "local", "localhost", "-m", module,
         "-a", json.dumps(arguments), "-e", json.dumps({"ansible_python_interpreter": str(interpreter)}), *options],
        cwd=REPOSITORY, env={**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "=> {" in done.stdout, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
    for changing in ("duration_seconds", "exception"):
        result.pop(changing, None)
    return result


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """The same Python under another name, for which Ansible starts a process."""
    wrapper = tmp_path / "python3"
    wrapper.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o700)
    return wrapper


@pytest.mark.parametrize("options", [(), ("--check", "--diff")], ids=["acting", "check"])
def test_both_ways_return_the_same(other_python: Path, empty_database: Options, options: tuple[str, ...]) -> None:
    arguments = {"connection": dict(empty_database)}
    forked = call("pg_status_info", arguments, Path(sys.executable), *options)
    assert not other_python.with_name("started").exists()
    assert forked == call("pg_status_info", arguments, other_python, *options)
    assert other_python.with_name("started").exists()


def test_both_ways_fail_with_the_same_words_and_hide_the_password(other_python: Path, empty_database: Options) -> None:
    arguments = {"connection": {**empty_database, "dbname": "no_such_database", "password": "nobody-may-read-this"}}
    forked = call("pg_status_info", arguments, Path(sys.executable))
    assert forked == call("pg_status_info", arguments, other_python)
    assert "no_such_database" in forked["msg"]
    assert "nobody-may-read-this" not in json.dumps(forked)


def test_both_ways_refuse_an_unknown_option(other_python: Path) -> None:
    forked = call("pg_status_info", {"connexion": {}}, Path(sys.executable))
    assert forked == call("pg_status_info", {"connexion": {}}, other_python)
    assert "missing required arguments" in forked["msg"]
