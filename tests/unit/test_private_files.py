"""Directories are there as a whole or not at all, and what a killed process left does not stay."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.private_files import (
    complete_directory,
    make_private,
    read_json,
    set_aside,
    write_json,
)


def modes(root: Path) -> set[str]:
    return {oct(stat.S_IMODE(path.stat().st_mode)) for path in [root, *root.rglob("*")]}


def test_a_directory_gets_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "backup"
    with complete_directory(str(target)) as partial:
        write_json(os.path.join(partial, "manifest.json"), {"rows": 1})
        assert not target.exists()
    assert read_json(str(target / "manifest.json"), "it") == {"rows": 1}
    assert modes(target) == {"0o700", "0o600"}
    assert modes(tmp_path / "deep") == {"0o700", "0o600"}
    assert os.listdir(target.parent) == ["backup"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), complete_directory(str(tmp_path / "backup")):
        raise KeyError
    assert not os.listdir(tmp_path)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    with pytest.raises(RunbookError, match="already exists"), complete_directory(str(tmp_path / "backup")):
        pass
    with pytest.raises(RunbookError, match="already exists"), complete_directory(str(tmp_path / "late")):
        (tmp_path / "late").mkdir()
    assert sorted(os.listdir(tmp_path)) == ["backup", "late"]


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    (tmp_path / ".backup.partial-dead").mkdir()
    (tmp_path / ".other.partial-dead").mkdir()
    script = (
        "import fcntl, os, sys; os.mkdir(sys.argv[1]); fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    alive = tmp_path / ".backup.partial-alive"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(alive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    with complete_directory(str(tmp_path / "backup")):
        pass
    process.communicate()
    assert sorted(os.listdir(tmp_path)) == [".backup.partial-alive", ".other.partial-dead", "backup"]


def test_directories_are_set_aside_under_a_free_name(tmp_path: Path) -> None:
    for expected in ("backup.rejected", "backup.rejected-2", "backup.rejected-3"):
        (tmp_path / "backup").mkdir()
        assert set_aside(str(tmp_path / "backup"), str(tmp_path / "backup.rejected")) == str(tmp_path / expected)


def test_modes_are_set_below_too(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True, mode=0o755)
    (tmp_path / "a" / "b" / "c").write_text("")
    make_private(str(tmp_path / "a"))
    assert modes(tmp_path / "a") == {"0o700", "0o600"}


@pytest.mark.parametrize(("content", "says"), [("{", "is not JSON"), ("[]", "does not contain an object")])
def test_json_that_is_damaged_is_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(RunbookError, match=says) as refused:
        read_json(str(path), "the manifest", "look")
    assert refused.value.object_name == str(path)
