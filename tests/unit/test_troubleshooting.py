"""What went wrong in a run is matched with the issues of its plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.runbook.verification.troubleshooting import in_words, issues, signs

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
    assert in_words(found).splitlines() == [
        "1. Issue: Orders without a line (the check none_left failed)",
        "   Cause: blank notes",
        "   Solution: fill them",
        "   Action: fix the data, run again",
        "   Next: ansible-playbook migrate.yml -i inventories/staging",
    ]
