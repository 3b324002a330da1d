"""The issues of a plan that match a run's result files, with the rows found now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.orders import PLAN, create_shop, orders_plan
from support.servers import Options, query

TROUBLESHOOTING = """
troubleshooting:
  - issue: Orders with a blank note
    when: {findings: [blank_note]}
    cause: old forms
    solution: fill them in
    action: correct the rows, then run again
    query: queries/blank.sql
    next_command: ansible-playbook migrate.yml{target}
"""


@pytest.fixture
def run_directory(tmp_path: Path) -> str:
    results = tmp_path / "run/results"
    results.mkdir(parents=True)
    found = {"failed": True, "findings": [{"name": "blank_note", "severity": "blocking"}]}
    (results / "10-environment.json").write_text(json.dumps(found))
    return str(tmp_path / "run")


def test_the_issue_is_shown_with_the_rows_of_now(
    empty_database: Options, run_module: Any, tmp_path: Path, run_directory: str
) -> None:
    create_shop(empty_database)
    query(empty_database, "UPDATE public.orders SET note = '' WHERE id IN (3, 4)")
    options = {"plan": orders_plan(tmp_path / "plan", PLAN + TROUBLESHOOTING), "run_directory": run_directory}
    for check in (False, True):
        result = run_module("pg_troubleshooting_info", connection=empty_database, _check=check, **options)
        assert not result["failed"]
        assert not result["changed"]
        (issue,) = result["issues"]
        assert issue["rows"] == [{"id": 3, "note": ""}, {"id": 4, "note": ""}]
        assert "Cause: old forms" in result["msg"]
        assert "Rows, 2 in all:" in result["msg"]
        assert result["msg"].endswith("Next: ansible-playbook migrate.yml")
    gone = run_module("pg_troubleshooting_info", connection={**empty_database, "port": 1}, **options)
    assert not gone["failed"]
    assert "Rows could not be read: cannot connect to" in gone["msg"]


def test_a_plan_that_knows_nothing_of_it_says_so(
    empty_database: Options, run_module: Any, tmp_path: Path, run_directory: str
) -> None:
    plan = orders_plan(tmp_path / "plan")
    result = run_module("pg_troubleshooting_info", connection=empty_database, plan=plan, run_directory=run_directory)
    assert result["msg"] == "No known issue of the plan matches."
    assert result["signs"]["findings"] == ["blank_note"]
