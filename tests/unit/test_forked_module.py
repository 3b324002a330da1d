"""A module in a fork of Ansible's worker: a process of its own, with the result and the end of any module."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import _internal, basic

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = ROOT / "plugins" / "action"
SPEC = importlib.util.spec_from_file_location("forked_pg_plan_info", ACTIONS / "pg_plan_info.py")
assert SPEC is not None
assert SPEC.loader is not None
forked = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(forked)


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], Any], payload: bytes = b"{}") -> dict[str, Any]:
    monkeypatch.setattr(forked, "MAIN", main)
    answer: dict[str, Any] = forked.run_in_fork(payload)
    return answer


def test_each_module_of_the_library_has_its_link() -> None:
    links = {path.name: os.readlink(path) for path in ACTIONS.glob("*.py") if path.is_symlink()}
    assert links == {path.name: "forked_module.py" for path in (ROOT / "library").glob("*.py")}


def test_a_link_imports_the_module_of_its_name() -> None:
    assert forked.NAME == "pg_plan_info"
    assert forked.MAIN.__module__ == "ansible.modules.pg_plan_info"


def test_the_module_finds_its_arguments_and_its_output_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        print(json.dumps({"args": json.loads(basic._ANSIBLE_ARGS or b""), "controller": _internal.is_controller}))
        sys.exit(0)

    answer = run(monkeypatch, main, b'{"ANSIBLE_MODULE_ARGS": {"word": "\xc3\xa9"}}')
    assert answer["rc"] == 0
    assert json.loads(answer["stdout"]) == {"args": {"ANSIBLE_MODULE_ARGS": {"word": "é"}}, "controller": False}
    assert basic._ANSIBLE_ARGS != b"{}"


def test_large_outputs_on_both_streams_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        for _ in range(64):
            sys.stdout.write("o" * 65_536)
            sys.stderr.write("e" * 65_536)

    answer = run(monkeypatch, main)
    assert (len(answer["stdout"]), len(answer["stderr"])) == (64 * 65_536, 64 * 65_536)


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (3, 3), ("a message", 1)])
def test_the_exit_code_is_the_module_s(monkeypatch: pytest.MonkeyPatch, code: Any, expected: int) -> None:
    assert run(monkeypatch, lambda: sys.exit(code))["rc"] == expected


def test_an_error_ends_the_fork_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise KeyError("unforeseen")

    answer = run(monkeypatch, main)
    assert answer["rc"] == 1
    assert "KeyError: 'unforeseen'" in answer["stderr"]


def test_a_killed_module_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))["rc"] == -signal.SIGKILL


def test_signals_have_python_s_own_handlers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    previous = [signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert run(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))["rc"] == -signal.SIGTERM
        answer = run(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, previous[0])
        signal.signal(signal.SIGINT, previous[1])
    assert "KeyboardInterrupt" in answer["stderr"]


def test_exit_functions_and_open_files_of_the_worker_are_not_the_module_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    atexit.register(left.touch)
    read, written = os.pipe()

    def main() -> None:
        atexit.register(print, "its own")
        os.write(written, b"lost")

    try:
        answer = run(monkeypatch, main)
        os.close(written)
        assert os.read(read, 10) == b""
    finally:
        atexit.unregister(left.touch)
        os.close(read)
    assert answer["stdout"] == "its own\n"
    assert not left.exists()


def can_fork(facts: dict[str, Any]) -> bool:
    action = object.__new__(forked.ActionModule)
    action._connection = SimpleNamespace(transport=facts["transport"], become=facts["become"])
    action._task = SimpleNamespace(async_val=facts["async_val"], environment=facts["environment"])
    action._templar = SimpleNamespace(template=lambda value: value)
    action._is_pipelining_enabled = lambda _style: "pipelining" not in facts
    return bool(action._can_fork({"ansible_python_interpreter": facts["interpreter"]}))


@pytest.mark.parametrize(
    "difference",
    [
        {"transport": "ssh"},
        {"become": object()},
        {"async_val": 10},
        {"environment": [{"LANG": "C"}]},
        {"interpreter": "/usr/bin/python3"},
        {"pipelining": False},
    ],
    ids=lambda difference: next(iter(difference)),
)
def test_anything_but_this_machine_and_this_python_goes_ansible_s_own_way(difference: dict[str, Any]) -> None:
    usual = {"transport": "local", "become": None, "async_val": 0, "environment": [{}], "interpreter": sys.executable}
    assert can_fork(usual)
    assert not can_fork({**usual, **difference})
