"""What the terminal of a run shows while a module works: on a terminal, through a pipe, and when nobody reads."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.migrated import Migrated
from support.playbooks import Operator
from support.servers import REPOSITORY, Options, connect, value

PROGRAM = str(Path(sys.executable).parent / "ansible-playbook")
PLAY = REPOSITORY / "tests" / "support" / "progress_play.yml"
ENTRY = {"version": "20250301000001", "step": "move the addresses", "rows_total": 400, "rows_per_second": 50.0}


class Screen:
    """Types the play and keeps what it showed."""

    def __init__(self, directory: Path) -> None:
        self.entries = directory / "entries"
        self.environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "TMPDIR": str(directory),
            "TERM": "xterm",
            "RUNBOOK_PROGRESS_INTERVAL_SECONDS": "0.5",
        }
        self.environment.pop("RUNBOOK_PROGRESS_FILE", None)

    def command(self, entries: list[dict[str, Any]], *arguments: str, pause_seconds: float = 0.4) -> list[str]:
        self.entries.write_text("".join(json.dumps({**ENTRY, **entry}) + "\n" for entry in entries))
        return [
            PROGRAM, "-i", "localhost,", str(PLAY), *arguments,
            "-e", f"entries={self.entries}", "-e", f"pause_seconds={pause_seconds}",
        ]  # fmt: skip

    def piped(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def on_a_terminal(self, command: list[str]) -> str:
        ours, theirs = pty.openpty()
        running = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # how a terminal says that the other side has ended
        os.close(ours)
        assert running.wait(timeout=60) == 0
        return shown.decode()


@pytest.fixture
def screen(tmp_path: Path) -> Screen:
    return Screen(tmp_path)


def running(*rows_done: int) -> list[dict[str, Any]]:
    return [{"state": "running", "rows_done": rows} for rows in rows_done]


def test_through_a_pipe_there_are_lines_and_the_usual_recap(screen: Screen) -> None:
    entries = [
        *running(100, 110, 120, 130),
        {"state": "paused", "rows_done": 200, "reason": "replica lag 70 MB"},
        *running(210),
        {"state": "done", "rows_done": 400},
    ]
    lines = screen.piped(screen.command(entries)).splitlines()
    shown = [line for line in lines if line.startswith("20250301000001 move the addresses: ")]
    said = [line.split(": ", 1)[1] for line in shown]
    assert said[0] in {f"{rows} of 400 rows ({rows / 4:.1f} %), 50 rows/s" for rows in (110, 120, 130)}
    assert said[-3:] == [
        "200 of 400 rows (50.0 %), paused: replica lag 70 MB",
        "210 of 400 rows (52.5 %), 50 rows/s",
        "400 of 400 rows (100.0 %), done",
    ]
    task = next(number for number, line in enumerate(lines) if line.startswith("TASK [The long task]"))
    assert lines[task + 1 : task + 1 + len(shown)] == shown, "progress stands below the name of its task"
    assert lines[task + 1 + len(shown)] == "changed: [localhost]"
    assert [line for line in lines if line.startswith("localhost ") and "ok=2    changed=1" in line]
    assert "\x1b" not in "".join(lines)
    assert "\r" not in "".join(lines)


def test_what_is_over_at_once_is_not_shown(screen: Screen) -> None:
    entries = [*running(100), {"state": "done", "rows_done": 400}]
    assert "move the addresses" not in screen.piped(screen.command(entries, pause_seconds=0.01))


def test_on_a_terminal_one_line_is_redrawn_and_gone_before_anything_else(screen: Screen) -> None:
    entries = [*running(100, 200), {"state": "paused", "rows_done": 200, "reason": "lock waiters 9"}, *running(300)]
    shown = screen.on_a_terminal(screen.command(entries))
    bars = re.findall(r"\[(#*\.*)\] ([\d.]+) %, (\d+)/400, ([^\r]*)", shown)
    assert [(percent, rows) for _, percent, rows, _ in bars] == [
        ("25.0", "100"), ("50.0", "200"), ("50.0", "200"), ("75.0", "300"),
    ]  # fmt: skip
    assert [bar for bar, *_ in bars] == ["##........", "#####.....", "#####.....", "#######..."]
    assert bars[2][3].startswith("paused: lock waiters 9")
    assert seen(shown).count("%") == 0, "a bar was left on the screen"
    assert [line for line in seen(shown).splitlines() if line == "changed: [localhost]"]


def test_a_narrow_terminal_never_wraps(screen: Screen) -> None:
    entries = [{"state": "paused", "rows_done": 100, "reason": "a long reason " * 40}]
    shown = screen.on_a_terminal(screen.command(entries))
    (bar,) = re.findall(r"\[#[^\r]*", shown)
    assert len(bar) == 79
    assert bar.endswith("…")


def seen(shown: str) -> str:
    """What a terminal shows in the end: each bar is one line, taken away by a return and an erasure."""
    return re.sub(r"[^\n]*\r\x1b\[J", "", shown.replace("\r\n", "\n"))


def test_the_file_is_private_and_removed(screen: Screen, tmp_path: Path) -> None:
    shown = screen.piped(screen.command(running(1)))
    saw = re.search(r"saw 600 700 (\S+)\s+end", shown)
    assert saw is not None, shown
    assert Path(saw[1]).parent.parent == tmp_path
    assert not Path(saw[1]).parent.exists()


def test_in_check_mode_nobody_watches(screen: Screen) -> None:
    assert "saw nobody watches end" in screen.piped(screen.command(running(1), "--check"))


def test_lines_that_are_no_entries_are_passed_over(screen: Screen) -> None:
    command = screen.command([])
    screen.entries.write_text('{"cut short\n[]\n' + json.dumps({**ENTRY, "state": "failed", "rows_done": 1}) + "\n")
    shown = screen.piped(command)
    assert "1 of 400 rows (0.2 %), failed" in shown
    assert "Exception" not in shown


@pytest.mark.parametrize("lines", [1, 5])
def test_the_play_goes_on_when_its_reader_goes(screen: Screen, tmp_path: Path, lines: int) -> None:
    command = screen.command([*running(*range(8)), {"state": "failed", "rows_done": 9}], pause_seconds=0.3)
    done = subprocess.run(
        ["bash", "-c", f'"$@" | head -n {lines}; echo "status ${{PIPESTATUS[0]}}"', "-", *command],
        cwd=REPOSITORY, env=screen.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "status 0", done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == lines + 1
    assert "Broken pipe" not in done.stderr
    assert not list(tmp_path.glob("runbook-progress-*"))


def test_a_migration_goes_on_to_its_end_when_its_reader_goes(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -n 5; echo "status ${PIPESTATUS[0]}"', "-", PROGRAM, "-i", str(operator.inventory),
         "migrate.yml"],
        cwd=REPOSITORY, env={**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "status 0", done.stdout + done.stderr
    assert operator.report()["state"] == "complete"
    assert value(database, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 0


def test_a_wait_for_a_lock_is_a_line_now_and_then_where_there_is_no_terminal(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_PROGRESS_INTERVAL_SECONDS", "0.5")
    says = re.compile("the change log's triggers on public.posts: waiting: Blocked by pid .* application the till")
    with connect(migrated.options, application_name="the till") as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE public.posts IN ACCESS SHARE MODE")
        running = migrated.operator.start("playbooks/end_change_log.yml")
        until = time.monotonic() + 30
        while len(says.findall(migrated.operator.screens[running.pid].read_text())) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        cursor.execute("COMMIT")
    outcome = migrated.operator.finish(running)
    assert outcome.status == 0, outcome.screen
    assert len(says.findall(outcome.screen)) >= 3, outcome.screen
