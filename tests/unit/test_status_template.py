"""The last line of status.yml: what to type, whatever was left half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest

TEMPLATE = Path(__file__).resolve().parents[2] / "playbooks" / "templates" / "status.j2"
RESTORED = {"phase": "restored", "at": "2026-01-01T10:00:00+00:00", "details": {}}
SWAPPED = {**RESTORED, "details": {"mode": "swap"}}
LATER = {"started_at": "2026-01-01T11:00:00+00:00"}
HELD = {"in_use": True, "run_id": "a", "holder": "somebody"}


def last_line(
    *,
    state: str = "complete",
    events: list[Any] | None = None,
    steps: list[Any] | None = None,
    lease: dict[str, Any] | None = None,
    partial: str = "",
    pending: bool = True,
    environment: str = "local",
) -> str:
    run = {"run_id": "a", "state": state, "finished_at": "then", "started_at": "then"}
    migration = {"version": "1", "name": "one", "remote": "1", "partial": partial, "drift": "none", "disagreement": ""}
    page = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(TEMPLATE.read_text())
    return page.render(
        migration_table={"migrations": [migration]},
        journal={
            "open_run": run if state == "open" else {},
            "runs": [run],
            "events": events or [],
            "steps": steps or [],
            "lease": lease or {},
            "summary": [],
        },
        change_log={"exists": False},
        run={"plan": {}, "phases_done": [], "applied": ["1"], "pending": ["2"] if pending else []},
        runbook_environment=environment,
        inventory_hostname="there",
    ).splitlines()[-1]


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "next: ansible-playbook migrate.yml"),
        ({"environment": "staging"}, "next: ansible-playbook migrate.yml -i inventories/staging -e confirm=there"),
        ({"pending": False}, "next: nothing is pending; playbooks/verify.yml runs every check"),
        ({"partial": "applied"}, "next: ansible-playbook migrate.yml"),
        ({"partial": "reverted"}, "next: ansible-playbook rollback.yml -e method=reverse"),
        ({"events": [RESTORED]}, "next: ansible-playbook rollback.yml -e method=restore"),
        ({"events": [SWAPPED]}, "next: ansible-playbook rollback.yml -e method=restore -e restore_mode=swap"),
        ({"events": [RESTORED], "state": "rolled_back"}, "next: ansible-playbook migrate.yml"),
        ({"events": [RESTORED], "steps": [LATER]}, "next: ansible-playbook migrate.yml"),
        (
            {"state": "open", "lease": {**HELD, "heartbeat_age_seconds": 0.4}},
            "next: ansible-playbook playbooks/monitor.yml watches it; "
            "playbooks/control.yml steers it (-e control=resume ends a pause)",
        ),
        ({"state": "open", "lease": {**HELD, "heartbeat_age_seconds": 60}}, "next: ansible-playbook migrate.yml"),
    ],
)
def test_the_last_line_is_what_to_type(facts: dict[str, Any], line: str) -> None:
    assert last_line(**facts) == line
