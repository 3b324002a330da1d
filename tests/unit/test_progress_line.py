"""What one line of progress says: how far, how fast, how long, and why it stands still."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "callback" / "runbook.py"

ENTRY = {
    "host": "shop_database",
    "version": "20250301000001",
    "step": "move the addresses",
    "kind": "backfill",
    "state": "running",
    "rows_done": 123000,
    "rows_total": 700000,
    "rows_per_second": 43210.4,
    "eta_seconds": 13.4,
    "eta_low_seconds": 11.2,
    "eta_high_seconds": 16.0,
    "batch": {"after": "0f1", "upto": "0f3a", "rows": 1000, "worker": 2, "milliseconds": 23.0},
    "batch_rows": 1000,
    "workers": 2,
    "reason": "",
}


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runbook_callback", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(plugin: ModuleType, *, width: int = 0, with_host: bool = False, **entry: Any) -> str:
    return plugin.line_of({**ENTRY, **entry}, width=width, with_host=with_host)  # type: ignore[no-any-return]


def test_a_walk_in_words(plugin: ModuleType) -> None:
    assert words(plugin) == (
        "20250301000001 move the addresses: 123000 of 700000 rows (17.6 %), 43210 rows/s, 13 s left (11 s to 16 s), "
        "2 workers, batches of 1000 rows, at 0f3a"
    )


def test_a_walk_as_a_bar(plugin: ModuleType) -> None:
    assert words(plugin, width=200).startswith(f"[{'#' * 4}{'.' * 21}] 17.6 %, 123000/700000, 43210 rows/s, 13 s left")


@pytest.mark.parametrize("width", [20, 80, 120, 300])
def test_a_bar_leaves_the_last_column_free(plugin: ModuleType, width: int) -> None:
    assert len(words(plugin, width=width)) <= width - 1
    assert len(words(plugin, width=width, state="paused", reason="x" * 400)) == width - 1


def test_the_rate_and_the_time_left_fit_a_terminal_of_eighty_columns(plugin: ModuleType) -> None:
    assert "13 s left (11 s to 16 s)" in words(plugin, width=80)


def test_a_pause_says_why_and_leaves_the_pace_out(plugin: ModuleType) -> None:
    said = words(plugin, state="paused", reason="replica_lag_bytes 70 MB, pause at 64 MB")
    assert said == (
        "20250301000001 move the addresses: 123000 of 700000 rows (17.6 %), "
        "paused: replica_lag_bytes 70 MB, pause at 64 MB"
    )


def test_a_pause_is_not_said_twice(plugin: ModuleType) -> None:
    assert words(plugin, state="paused", reason="paused by ann@desk").endswith("(17.6 %), paused by ann@desk")


def test_work_without_rows_says_whom_it_waits_for(plugin: ModuleType) -> None:
    unknown = dict.fromkeys(("rows_done", "rows_total", "rows_per_second", "eta_seconds", "batch", "workers"))
    said = words(plugin, **{**unknown, "batch_rows": None, "state": "waiting", "reason": "pid 7 (psql), 12 s"})
    assert said == "20250301000001 move the addresses: waiting: pid 7 (psql), 12 s"


def test_running_work_may_have_something_to_say(plugin: ModuleType) -> None:
    said = plugin.line_of({"version": "1", "step": "index", "state": "running", "reason": "building, 40 %"})
    assert said == "1 index: building, 40 %"


@pytest.mark.parametrize("state", ["done", "failed"])
def test_the_end_is_said(plugin: ModuleType, state: str) -> None:
    assert words(plugin, state=state).endswith(f"(17.6 %), {state}")


def test_an_empty_table_is_all_done(plugin: ModuleType) -> None:
    assert "0 of 0 rows (100.0 %)" in words(plugin, rows_done=0, rows_total=0)


def test_rows_that_came_meanwhile_do_not_burst_the_bar(plugin: ModuleType) -> None:
    assert words(plugin, rows_done=900, rows_total=800, width=100).startswith(f"[{'#' * 12}] 100.0 %, 900/800")


def test_the_host_is_named_where_there_are_several(plugin: ModuleType) -> None:
    assert words(plugin, with_host=True).startswith("shop_database: 20250301000001")
    assert words(plugin, with_host=True, width=100).startswith("shop_database: [##.")
    assert "shop_database" not in words(plugin)


def test_nothing_that_moves_the_cursor_reaches_the_terminal(plugin: ModuleType) -> None:
    said = words(plugin, state="paused", reason="one\n two\x1b[2J\rthree")
    assert said.endswith("paused: one\\n two\\x1b[2J\\rthree")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (3600, "60 min"), (9000, "2.5 h")]
)
def test_durations(plugin: ModuleType, seconds: float, said: str) -> None:
    assert plugin.duration(seconds) == said


def test_only_what_a_killed_command_has_left_is_removed(
    plugin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that still runs holds its file; a new one may not hold it yet; others are no business of ours."""
    monkeypatch.setattr(plugin.tempfile, "gettempdir", lambda: str(tmp_path))
    made = {}
    for name in ("runbook-progress-killed", "runbook-progress-at_work", "runbook-progress-new", "another"):
        made[name] = tmp_path / name
        made[name].mkdir()
        (made[name] / "progress.jsonl").touch()
        if not name.endswith("new"):
            os.utime(made[name], (1, 1))
    (tmp_path / "runbook-progress-link").symlink_to(made["another"])
    with open(made["runbook-progress-at_work"] / "progress.jsonl") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        plugin.remove_abandoned()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "another", "runbook-progress-at_work", "runbook-progress-link", "runbook-progress-new",
    ]  # fmt: skip
    assert (made["another"] / "progress.jsonl").exists()


def test_what_is_for_the_screen_is_printed_line_by_line(plugin: ModuleType) -> None:
    callback = plugin.CallbackModule()
    callback._plugin_options = {"result_format": "yaml", "pretty_results": None}

    def printed(action: str, **result: Any) -> str:
        callback._clean_results(result, action)
        return str(callback._dump_results(result))

    assert printed("pg_verify", summary=["a: 'b'", "c\nd"], changed=True) == "\n    a: 'b'\n    c\n    d"
    assert printed("ansible.builtin.debug", msg=["a: 'b'", "c"], changed=False) == "\n    a: 'b'\n    c"
    assert printed("ansible.builtin.debug", msg="a: 'b'", changed=False) == "\n    a: 'b'"
    assert "changed: true" in printed("pg_verify", changed=True), "another result is shown as ever"


def test_the_summary_of_a_module_is_all_that_is_printed_of_its_result(plugin: ModuleType) -> None:
    def printed(**result: Any) -> dict[str, Any]:
        plugin.keep_summary(result)
        return result

    flags = {"_ansible_verbose_always": True, "_runbook_summary": True}
    lines = ["two rows", "next: nothing"]
    shown = printed(summary=lines, changed=True, rows=2, msg="done", warnings=["old"], _ansible_no_log=False)
    assert shown == {"msg": lines, "warnings": ["old"], "_ansible_no_log": False} | flags
    for other in (
        {"msg": "x"},
        {"summary": [], "msg": "x"},
        {"summary": {"rows": 1}},
        {"summary": lines, "failed": True},
    ):
        assert printed(**other) == other
