"""The state of a run is read from its result files, whatever happened to the process that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible.module_utils.runbook.report.failure import read_reversed
from ansible.module_utils.runbook.report.report import build, read_results
from ansible.module_utils.runbook.run.make_report import summary, write_page

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "roles" / "run_report" / "templates" / "report.md.j2"
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text())
ENVIRONMENT = {"failed": False, "findings": [], "server": {}, "volume": {"rows": 3, "class": "small"}}
MIGRATION = {"failed": False, "version": "20260101000000", "state": "applied", "duration_seconds": 1.5, "rows_moved": 3}
INTEGRITY = {"failed": False, "results": []}
PERFORMANCE = {"failed": False, "results": [], "slow": []}
GREEN = {
    "10-environment": ENVIRONMENT,
    "30-migration-20260101000000": MIGRATION,
    "40-integrity": INTEGRITY,
    "50-performance": PERFORMANCE,
}


def run(**changes: Any) -> dict[str, Any]:
    facts = {
        "id": "20260101T000000Z-abc",
        "directory": "/somewhere",
        "plan_name": "orders",
        "plan_hash": "a" * 64,
        "environment": "staging",
        "host": "staging_database",
        "hosts": ["staging_database"],
        "resumed": False,
        "pending": ["20260101000000"],
        "to_apply": ["20260101000000"],
        "stop_after": "",
    }
    return {**facts, **changes}


def without(*phases: str) -> dict[str, Any]:
    return {stem: result for stem, result in GREEN.items() if stem.split("-")[1] not in phases}


def failed(left_as: str, **keys: Any) -> dict[str, Any]:
    return {"failed": True, "msg": "it broke", "left_as": left_as, "next_command": "type this", **keys}


@pytest.mark.parametrize(
    ("results", "changes", "state"),
    [
        (GREEN, {}, "complete"),
        ({**GREEN, "50-performance": {**PERFORMANCE, "slow": ["heavy"]}}, {}, "complete_with_warnings"),
        (without("integrity", "performance"), {"stop_after": "20260101000000"}, "stopped"),
        ({"10-environment": failed("unchanged")}, {}, "refused"),
        ({**GREEN, "40-integrity": failed("resumable")}, {}, "failed"),
        ({"10-environment": ENVIRONMENT, "30-migration-20260101000000": failed("unchanged")}, {}, "failed"),
        (without("performance"), {}, "interrupted"),
        (without("migration"), {}, "interrupted"),
        (without("migration"), {"pending": [], "to_apply": []}, "complete"),
        ({}, {}, "interrupted"),
        ({**GREEN, "40-integrity": failed("resumable"), "71-restore": {"failed": False}}, {}, "rolled_back"),
        ({**GREEN, "71-restore": failed("unchanged")}, {}, "failed"),
    ],
)
def test_state(results: dict[str, Any], changes: dict[str, Any], state: str) -> None:
    assert build(run(**changes), results, None)["state"] == state


def test_a_failure_keeps_its_phase_and_its_next_command() -> None:
    report = build(run(), {**GREEN, "40-integrity": failed("resumable", object="public.orders")}, None)
    assert report["failure"]["phase"] == "40-integrity"
    assert report["failure"]["object"] == "public.orders"
    assert report["failure"]["left_as"] == "resumable"
    assert report["next_command"] == "type this"


def test_a_refused_retry_hides_what_had_failed_before() -> None:
    results = {
        "10-environment": failed("unchanged", next_command="repair that", written_at=7.0),
        "30-migration-20260101000000": failed("resumable", written_at=5.0),
    }
    report = build(run(), results, {}, {})
    assert (report["failure"]["phase"], report["next_command"]) == ("10-environment", "repair that")
    results["30-migration-20260101000000"]["written_at"] = 8.0
    assert build(run(), results, {}, {})["failure"]["phase"] == "30-migration-20260101000000"


def test_a_rollback_says_what_had_failed() -> None:
    report = build(run(), {**GREEN, "40-integrity": failed("resumable"), "71-restore": {"failed": False}}, None)
    assert report["failure"]["msg"] == "it broke"
    assert "ansible-playbook migrate.yml -i inventories/staging -e confirm=staging_database" in report["next_command"]


def test_an_interrupted_run_says_how_to_go_on() -> None:
    expected = "ansible-playbook migrate.yml -i inventories/staging -e confirm=staging_database"
    assert build(run(), {}, None)["next_command"] == expected


def test_warnings_of_preflight_do_not_make_a_run_slow() -> None:
    finding = {
        "severity": "warning",
        "name": "replication",
        "found": "one slot",
        "object": "",
        "harm": "",
        "repair": "",
    }
    report = build(run(), {**GREEN, "10-environment": {**ENVIRONMENT, "findings": [finding]}}, None)
    assert report["state"] == "complete"
    assert report["warnings"] == ["replication: one slot"]


def test_differences_that_were_accepted_are_a_warning() -> None:
    comparison = {"failed": False, "msg": "2 items differ; the application wrote", "differences": [{}, {}]}
    report = build(run(), {**GREEN, "41-comparison": comparison}, None)
    assert report["state"] == "complete"
    assert report["warnings"] == ["comparison: 2 items differ; the application wrote"]


def test_the_report_has_the_documented_shape() -> None:
    report = {**build(run(), GREEN, None), "written_at": "2026-01-01T00:00:00+00:00"}
    jsonschema.validate(report, SCHEMA)
    del report["state"]
    with pytest.raises(jsonschema.ValidationError, match="'state' is a required property"):
        jsonschema.validate(report, SCHEMA)


def test_results_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    directory = tmp_path / "results"
    directory.mkdir()
    for stem in ("40-integrity", "10-environment"):
        (directory / f"{stem}.json").write_text(json.dumps({"failed": False, "stem": stem}))
    assert list(read_results(str(tmp_path))) == ["10-environment", "40-integrity"]
    assert read_results(str(tmp_path / "nowhere")) == {}


SECOND = {**MIGRATION, "version": "20260102000000"}
TWO = {**GREEN, "30-migration-20260102000000": SECOND}
BACK = {**MIGRATION, "state": "reverted", "duration_seconds": 0.7, "rows_moved": 0}


def step(version: str, direction: str = "reverted", kind: str = "ledger", state: str = "done") -> dict[str, str]:
    return {"version": version, "direction": direction, "kind": kind, "state": state}


def migration_lines(report: dict[str, Any]) -> list[str]:
    return [line for line in summary(report, "/run/report.json") if line.startswith("migration ")]


def test_after_a_reverse_the_summary_says_what_was_undone_newest_first() -> None:
    steps = [step("20260102000000"), step("20260101000000", kind="transaction"), step("20260101000000")]
    back = {"20260101000000": BACK, "20260102000000": {**BACK, "duration_seconds": 2.5, "rows_moved": 9}}
    report = build(run(), TWO, {"state": "rolled_back", "steps": steps}, back)
    assert migration_lines(report) == [
        "migration 20260102000000: undone in 2.5 s, 9 rows moved",
        "migration 20260101000000: undone in 0.7 s",
    ]
    jsonschema.validate({**report, "written_at": ""}, SCHEMA)


def test_a_reverse_that_stopped_half_way_tells_its_own_failure_and_how_it_goes_on() -> None:
    forward = {**GREEN, "40-integrity": failed("unchanged", written_at=9.0)}
    journal = {"state": "open", "steps": [step("20260101000000", kind="transaction")]}
    again = "ansible-playbook rollback.yml -i inventories/staging -e confirm=staging_database -e method=reverse"
    blocked = failed("resumable", version="20260101000000", next_command=again)

    report = build(run(), forward, journal, {"20260101000000": blocked})
    assert (report["state"], report["failure"]["msg"]) == ("failed", "it broke")
    assert (report["failure"]["phase"], report["next_command"]) == ("72-reverse-20260101000000", again)

    killed = build(run(), forward, journal, {})
    assert (killed["state"], killed["failure"], killed["next_command"]) == ("interrupted", None, again)

    journal["steps"].append(step("20260101000000"))
    assert build(run(), forward, journal, {"20260101000000": blocked})["failure"]["phase"] == "40-integrity"


def test_a_reverse_that_failed_before_its_first_step_is_not_hidden_by_the_failure_that_led_to_it() -> None:
    forward = {**GREEN, "10-environment": {**ENVIRONMENT, **failed("unchanged", written_at=9.0)}}
    back = failed("unchanged", version="20260101000000", next_command="", written_at=10.0)
    back["msg"] = "a lock was not free"
    journal: dict[str, Any] = {"state": "open", "steps": []}

    report = build(run(), forward, journal, {"20260101000000": back})
    assert report["failure"]["msg"] == "a lock was not free"
    assert report["next_command"].endswith("-e method=reverse")
    later = {**forward, "10-environment": {**ENVIRONMENT, "written_at": 11.0}}
    assert build(run(), later, journal, {"20260101000000": back})["failure"] is None


def test_what_a_reverse_left_applied_is_told_apart_from_what_it_undid() -> None:
    steps = [step("20260101000000", "applied"), step("20260102000000", kind="transaction")]
    killed = build(run(), TWO, {"state": "open", "steps": steps})
    assert migration_lines(killed) == [
        "migration 20260101000000: applied in 1.5 s, 3 rows moved",
        "migration 20260102000000: undone in part",
    ]


def test_a_run_that_went_forward_again_has_nothing_undone() -> None:
    journal = {
        "state": "complete",
        "steps": [step("20260101000000", "applied")],
        "superseded_steps": [step("20260101000000")],
    }
    assert migration_lines(build(run(), GREEN, journal, {"20260101000000": BACK})) == [
        "migration 20260101000000: applied in 1.5 s, 3 rows moved"
    ]


def test_a_reversed_run_still_says_what_was_undone_when_a_later_run_has_applied_it_again() -> None:
    journal = {"state": "rolled_back", "steps": [], "superseded_steps": [step("20260101000000")]}
    assert migration_lines(build(run(), GREEN, journal, {"20260101000000": BACK})) == [
        "migration 20260101000000: undone in 0.7 s"
    ]


def test_after_a_restore_the_summary_says_that_it_undid_what_was_applied() -> None:
    results = {**GREEN, "71-restore": {"failed": False, "rows": {"public.orders": {}}}}
    journal = {"state": "rolled_back", "steps": [], "superseded_steps": [step("20260101000000", "applied")]}
    assert migration_lines(build(run(), results, journal)) == [
        "migration 20260101000000: applied in 1.5 s, 3 rows moved; undone by the restore"
    ]


def test_the_results_of_a_reverse_are_the_newest_of_each_migration(tmp_path: Path) -> None:
    for attempt, seconds in (("rollback-20260101T000000Z-b", 1), ("rollback-20260102T000000Z-a", 2)):
        directory = tmp_path / attempt / "results"
        directory.mkdir(parents=True)
        (directory / "30-migration-1.json").write_text(json.dumps({"version": "1", "duration_seconds": seconds}))
        (directory / "70-assessment.json").write_text("{}")
    (newest,) = read_reversed(str(tmp_path)).values()
    assert newest.pop("written_at") > 0
    assert newest == {"version": "1", "duration_seconds": 2}


@pytest.mark.parametrize(
    ("status", "why", "slow", "state"),
    [
        ("warning", "a sequential scan read 301 rows of shop.lines (limit 300)", [], "complete"),
        ("warning", "median 9.0 ms, must be less than 5.0 ms", ["lines"], "complete_with_warnings"),
    ],
)
def test_a_performance_warning_is_the_same_on_the_screen_and_in_the_report(
    tmp_path: Path, status: str, why: str, slow: list[str], state: str
) -> None:
    measured = {
        "name": "lines",
        "median_milliseconds": 9.0,
        "threshold_milliseconds": 5.0,
        "status": status,
        "why": why,
    }
    performance = {"failed": False, "results": [measured], "slow": slow, "warnings_found": [f"lines: {why}"]}
    report = {**build(run(), {**GREEN, "50-performance": performance}, None), "written_at": ""}
    write_page(str(tmp_path / "report.md"), str(TEMPLATE), report)
    assert f"| lines | 9.0 | 5.0 |  |  | warning: {why} |" in (tmp_path / "report.md").read_text().splitlines()
    assert f"warning: performance query lines: {why}" in summary(report, "/run/report.json")
    assert report["state"] == state


def test_the_summary_ends_with_the_report_and_the_next_command() -> None:
    lines = summary(build(run(), GREEN, None), "/run/report.json")
    assert lines[0] == "run 20260101T000000Z-abc: complete"
    assert "migration 20260101000000: applied in 1.5 s, 3 rows moved" in lines
    assert lines[-2:] == ["report: /run/report.md", "next: nothing: the plan is applied and verified"]
