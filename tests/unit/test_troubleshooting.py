"""What went wrong in a run is matched with the issues of its plan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.plan.loader import load_plan
from ansible.module_utils.runbook.verification.troubleshooting import issues, signs, to_text

RESULTS: dict[str, dict[str, Any]] = {
    "10-environment": {
        "findings": [
            {"name": "blank_note", "severity": "blocking"},
            {"name": "statement_timeout", "severity": "information"},
        ]
    },
    "30-migration-20250101000000": {
        "version": "20250101000000",
        "failed": False,
        "judged": "slower",
        "checks": [{"name": "none_left", "status": "passed"}],
    },
    "30-migration-20250102000000": {
        "version": "20250102000000",
        "failed": True,
        "judged": "unknown",
        "checks": [{"name": "valid", "status": "failed"}],
    },
    "40-integrity": {"failed": True, "results": [{"name": "none_left", "status": "failed"}]},
    "50-performance": {"results": [{"name": "lines", "status": "failed"}]},
}

ENTRY = {
    "issue": "Orders without a line",
    "when": {"checks": ["none_left"]},
    "cause": "blank notes",
    "solution": "fill them",
    "action": "fix the data, run again",
    "next_command": "ansible-playbook migrate.yml{target}",
}


def test_result_files_say_what_went_wrong() -> None:
    assert signs(RESULTS) == {
        "checks": ["valid", "none_left"],
        "findings": ["blank_note"],
        "failed_migrations": ["20250102000000"],
        "slow_migrations": ["20250101000000"],
    }


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ({"checks": ["none_left"]}, ["the check none_left failed"]),
        ({"findings": ["blank_note"]}, ["environment verification found blank_note"]),
        ({"failed_migrations": ["20250102000000"]}, ["migration 20250102000000 failed"]),
        ({"slow_migrations": ["20250101000000"]}, ["migration 20250101000000 took longer than expected"]),
        ({"failed_migrations": ["20250101000000"], "checks": ["other"]}, []),
    ],
)
def test_any_sign_points_at_an_issue(when: dict[str, list[str]], why: list[str]) -> None:
    found = issues([{**ENTRY, "when": when}], signs(RESULTS), "")
    assert [issue["why"] for issue in found] == ([why] if why else [])


def test_an_issue_reads_like_the_guide_and_ends_with_the_command() -> None:
    found = issues([ENTRY], signs(RESULTS), " -i inventories/staging")
    assert to_text(found).splitlines() == [
        "1. Issue: Orders without a line (the check none_left failed)",
        "   Cause: blank notes",
        "   Solution: fill them",
        "   Action: fix the data, run again",
        "   Next: ansible-playbook migrate.yml -i inventories/staging",
    ]


#: What playbooks/repair.yml knows without the plan.
BUILT_IN = {"takes_too_long", "unfinished_objects"}


def test_each_known_issue_of_the_plan_leads_to_the_repair_that_there_is() -> None:
    plan = load_plan(str(Path(__file__).resolve().parents[2] / "sql" / "tracks_posts_separation"))
    known = {entry["issue"] for entry in plan["repairs"]} | BUILT_IN
    form = re.compile(r"ansible-playbook playbooks/repair\.yml\{target\} -e issue=(\w+)")
    commands = [entry["next_command"] for entry in plan["troubleshooting"]]
    named = [match[1] for command in commands if (match := form.fullmatch(command))]
    assert len(named) == len(commands) == 5, commands
    assert set(named) <= known


def test_each_precondition_that_names_a_repair_is_known_to_troubleshooting() -> None:
    """Whoever is refused for dirty data is led to the same repair by both."""
    plan = load_plan(str(Path(__file__).resolve().parents[2] / "sql" / "tracks_posts_separation"))
    repairs = {
        entry["name"]: match[1]
        for entry in plan["requirements"]["preconditions"]
        if (match := re.search(r"-e issue=(\w+)", entry["repair"]))
    }
    assert len(repairs) == 6
    for name, issue in repairs.items():
        (found,) = issues(plan["troubleshooting"], {"findings": [name]}, "")
        assert found["next_command"].endswith(f" -e issue={issue}"), name
