"""An environment follows its predecessor only when every host there is green with the same plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.run.promotion import judge, latest_reports, require_green

PLAN = "a" * 64


def write_report(
    artifacts: Path, host: str, run_id: str, state: str, hosts: list[str], plan_hash: str = PLAN, slow: str = ""
) -> None:
    directory = artifacts / "staging" / host / run_id
    directory.mkdir(parents=True)
    performance = [{"name": slow, "within_threshold": False}] if slow else []
    report = {"state": state, "run": {"id": run_id, "plan_hash": plan_hash, "hosts": hosts}, "performance": performance}
    (directory / "report.json").write_text(json.dumps(report))


def reasons(artifacts: Path, accept_slow: bool = False) -> list[str]:
    return judge(latest_reports(str(artifacts), "staging"), "staging", PLAN, accept_slow)


def test_all_hosts_green_is_no_reason_to_refuse(tmp_path: Path) -> None:
    for host in ("one", "two"):
        write_report(tmp_path, host, "20260101T000000Z-a", "complete", ["one", "two"])
    assert reasons(tmp_path) == []


def test_no_run_at_all(tmp_path: Path) -> None:
    assert reasons(tmp_path) == ["staging has no run at all"]


def test_a_host_that_never_ran_is_named(tmp_path: Path) -> None:
    write_report(tmp_path, "one", "20260101T000000Z-a", "complete", ["one", "two"])
    assert reasons(tmp_path) == ["staging/two has no run"]


def test_only_the_newest_run_counts(tmp_path: Path) -> None:
    write_report(tmp_path, "one", "20260101T000000Z-a", "complete", ["one"])
    write_report(tmp_path, "one", "20260102T000000Z-a", "failed", ["one"])
    assert reasons(tmp_path) == ["staging/one: its newest run 20260102T000000Z-a is failed"]


def test_a_killed_run_is_not_green(tmp_path: Path) -> None:
    write_report(tmp_path, "one", "20260101T000000Z-a", "complete", ["one"])
    (tmp_path / "staging" / "one" / "20260103T000000Z-a").mkdir()
    assert reasons(tmp_path) == ["staging/one: its newest run 20260103T000000Z-a is interrupted"]


def test_a_backup_outside_any_run_is_no_newer_run(tmp_path: Path) -> None:
    write_report(tmp_path, "one", "20260101T000000Z-a", "complete", ["one"])
    (tmp_path / "staging" / "one" / "20260102T000000Z-a" / "backup").mkdir(parents=True)
    assert reasons(tmp_path) == []


def test_another_plan_hash_is_another_plan(tmp_path: Path) -> None:
    write_report(tmp_path, "one", "20260101T000000Z-a", "complete", ["one"], plan_hash="b" * 64)
    assert "another plan hash" in reasons(tmp_path)[0]


def test_slow_runs_want_to_be_accepted(tmp_path: Path) -> None:
    write_report(tmp_path, "one", "20260101T000000Z-a", "complete_with_warnings", ["one"], slow="user_orders")
    assert "user_orders" in reasons(tmp_path)[0]
    assert "accept_slow=true" in reasons(tmp_path)[0]
    assert reasons(tmp_path, accept_slow=True) == []


def test_the_refusal_holds_every_reason_and_the_next_command() -> None:
    with pytest.raises(RunbookError) as raised:
        require_green(["staging/one has no run", "staging/two has no run"], "staging")
    assert "staging/one has no run; staging/two has no run" in raised.value.msg
    assert raised.value.next_command.startswith("ansible-playbook migrate.yml -i inventories/staging")
    assert raised.value.left_as == "unchanged"
