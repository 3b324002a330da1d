"""The state of a run is read from its result files, whatever happened to the process that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible.module_utils.runbook.run.make_report import summary
from ansible.module_utils.runbook.run.report import build, read_results

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text())
ENVIRONMENT = {"failed": False, "findings": [], "server": {"version": "17.5"}, "volume": {"rows": 3, "class": "small"}}
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


def test_the_summary_ends_with_the_report_and_the_next_command() -> None:
    lines = summary(build(run(), GREEN, None), "/run/report.json")
    assert lines[0] == "run 20260101T000000Z-abc: complete"
    assert "migration 20260101000000: applied in 1.5 s, 3 rows moved" in lines
    assert lines[-2:] == ["report: /run/report.md", "next: nothing: the plan is applied and verified"]
