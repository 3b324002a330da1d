"""The writing side of the progress file: whole lines, from any thread, and never a failure."""

from __future__ import annotations

import json
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook import progress_feed as progress_writer
from ansible.module_utils.runbook.progress_feed import EMPTY, Writer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "progress"
    path.touch(mode=0o600)
    return path


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_entry_is_a_line_with_every_key(file: Path) -> None:
    writer = Writer(str(file))
    assert writer.write({"rows_done": 5, "state": "paused", "reason": "line\nbreak"})
    assert writer.write({"rows_done": 6})
    first, second = entries(file)
    assert first.keys() == second.keys() == EMPTY.keys()
    assert (first["rows_done"], first["state"], first["reason"]) == (5, "paused", "line\nbreak")
    assert (second["rows_done"], second["state"], second["reason"]) == (6, "running", "")
    assert second["time"].endswith("+00:00")
    assert second["time"] >= first["time"]


def test_lines_of_several_threads_stay_whole(file: Path) -> None:
    writer = Writer(str(file))
    threads = [
        threading.Thread(target=lambda n=n: [writer.write({"rows_done": n, "reason": "x" * 500}) for _ in range(100)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry["rows_done"] for entry in entries(file)) == sorted([*range(8)] * 100)


@pytest.mark.parametrize("path", [None, ""])
def test_nobody_watching_is_no_problem(path: str | None) -> None:
    writer = Writer(path)
    assert not writer.write({"rows_done": 1})
    assert writer.problem == ""


def test_a_file_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "gone"))
    assert not writer.write({"rows_done": 1})
    assert writer.problem == f"{tmp_path}/gone: No such file or directory"
    assert not (tmp_path / "gone").exists()


def test_a_file_that_goes_while_written_is_no_problem(file: Path) -> None:
    writer = Writer(str(file))
    file.unlink()
    assert writer.write({"rows_done": 1})
    assert not file.exists()


def test_a_link_is_not_followed(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    assert not Writer(str(tmp_path / "link")).write({"rows_done": 1})
    assert file.read_text() == ""


def test_a_full_disk_is_remembered_and_leaves_whole_lines_behind(file: Path) -> None:
    writer = Writer(str(file))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer.write({"rows_done": 1})
    room = file.stat().st_size + 20  # a limit on the file's size: writing ends inside the second line
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        assert not writer.write({"rows_done": 2})
        assert not writer.write({"rows_done": 3})
        assert writer.problem == "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert writer.write({"rows_done": 4})
    lines = file.read_text().splitlines()
    assert len(lines) == 3
    assert [json.loads(lines[0])["rows_done"], json.loads(lines[2])["rows_done"]] == [1, 4]


def test_a_server_of_the_disk_that_refuses_is_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(str(file))

    def refuse(_file: int, _data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(progress_writer.os, "write", refuse)
    assert not writer.write({"rows_done": 1})
    assert writer.problem == "No space left on device"


def test_writing_after_the_end_does_nothing(file: Path) -> None:
    writer = Writer(str(file))
    writer.close()
    writer.close()
    assert not writer.write({"rows_done": 1})
    assert file.read_text() == ""
