"""The roles of the verification phases, as a playbook calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.orders import PLAN, create_shop, orders_plan, write_file
from support.servers import REPOSITORY, Options, query

LEFT = "SELECT count(*) FILTER (WHERE note = '') AS blank, count(*) AS rows_examined FROM public.orders"

MORE = """
checks:
  - {name: no_blank, title: No blank note, query: queries/left.sql, expect: {blank: 0}, offenders: queries/blank.sql}
performance:
  - {name: all_lines, query: queries/lines.sql, threshold_milliseconds: 0.0001}
troubleshooting:
  - issue: Blank notes
    when: {checks: [no_blank], findings: [blank_note]}
    cause: old forms
    solution: fill them in
    action: correct the rows, then run again
    next_command: ansible-playbook migrate.yml{target}
"""

APPLIED = "INSERT INTO supabase_migrations.schema_migrations (version) VALUES ('20250101000000'), ('20250102000000')"

Play = Callable[..., tuple[int, str, dict[str, Any]]]


@pytest.fixture
def play(empty_database: Options, tmp_path: Path) -> Play:
    """Run one role on a shop; gives exit status, screen and result files."""
    create_shop(empty_database)
    write_file(tmp_path, "plan/queries/left.sql", LEFT)
    write_file(tmp_path, "plan/queries/lines.sql", "SELECT sum(amount) FROM public.lines")
    run = {"plan": orders_plan(tmp_path / "plan", PLAN + MORE), "directory": str(tmp_path / "run")}
    variables = {
        "ansible_connection": "local",
        "runbook_environment": "staging",
        "database_connection": empty_database,
        "migration_plan_settings": {"keep_notes": True},
        "run": run,
    }

    def call(role: str, *arguments: str, **extra: Any) -> tuple[int, str, dict[str, Any]]:
        inventory = {"databases": {"hosts": {"shop_database": {**variables, **extra}}}}
        tasks = [{"name": role, "ansible.builtin.include_role": {"name": role}, "vars": {f"{role}_run": "{{ run }}"}}]
        playbook = [{"name": "Play", "hosts": "databases", "gather_facts": False, "tasks": tasks}]
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (tmp_path / "play.yml").write_text(yaml.safe_dump(playbook))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        files = sorted((tmp_path / "run/results").glob("*.json"))
        return done.returncode, done.stdout + done.stderr, {f.stem: json.loads(f.read_text()) for f in files}

    return call


def test_environment_verification_prints_the_pins_that_are_missing(play: Play) -> None:
    status, screen, files = play("environment_verification")
    assert status != 0
    assert "identity_not_pinned" in screen
    assert "database_expected: {system_identifier: " in screen
    assert "inventories/staging/group_vars/staging.yml" in screen
    identifier = files["10-environment"]["server"]["system_identifier"]
    database = files["10-environment"]["server"]["database"]
    pins = {"database_expected": {"system_identifier": identifier, "database": database}}
    status, screen, files = play("environment_verification", **pins)
    assert status == 0, screen
    assert "changed=0" in screen
    assert files["10-environment"]["blocking"] == []


def test_environment_verification_keeps_no_result_without_a_directory_or_in_check_mode(play: Play) -> None:
    local = {"runbook_environment": "local"}
    status, screen, files = play("environment_verification", "--check", **local)
    assert (status, files) == (0, {}), screen
    status, screen, files = play("environment_verification", environment_verification_run_directory="", **local)
    assert (status, files) == (0, {}), screen


def test_what_the_inventory_accepts_passes_verification_before_and_after(play: Play, empty_database: Options) -> None:
    local = {"runbook_environment": "local"}
    query(empty_database, "CREATE RULE seen AS ON UPDATE TO public.orders DO ALSO NOTHING")
    status, screen, _ = play("environment_verification", **local)
    assert status != 0
    assert "[blocking] rule (public.orders.seen)" in screen
    status, screen, files = play("integrity_verification")
    assert status != 0
    assert "finding=rule, object=public.orders.seen" in screen
    assert files["40-integrity"]["failed_checks"] == ["survey"]
    accept = [{"finding": "rule", "object": "public.orders.seen", "reason": "it does nothing"}]
    for role in ("environment_verification", "integrity_verification"):
        status, screen, _ = play(role, database_accepted_findings=accept, **local)
        assert status == 0, screen
    assert "(accepted: it does nothing)" in play("environment_verification", database_accepted_findings=accept)[1]


def test_integrity_verification_lists_then_runs_the_checks(play: Play, empty_database: Options) -> None:
    status, screen, files = play("integrity_verification")
    assert status == 0, screen
    assert files["40-integrity"]["statuses"] == {"would_be_checked": 3, "passed": 1}, "the survey runs before"
    query(empty_database, APPLIED)
    status, screen, files = play("integrity_verification")
    assert status == 0, screen
    assert "passed: No blank note: blank = 0 (50 rows examined)" in screen
    query(empty_database, "UPDATE public.orders SET note = '' WHERE id = 9")
    status, screen, files = play("integrity_verification")
    assert status != 0
    assert "No blank note (no_blank): found blank = 1" in screen
    assert files["40-integrity"]["results"][0]["offenders"] == [{"id": 9, "note": ""}]
    status, screen, _ = play("troubleshooting")
    assert status == 0, screen
    assert "Issue: Blank notes (the check no_blank failed)" in screen
    assert "ansible-playbook migrate.yml -i inventories/staging -e confirm=shop_database" in screen


def test_a_slow_query_is_a_warning(play: Play, empty_database: Options) -> None:
    query(empty_database, APPLIED)
    status, screen, files = play("performance_verification")
    assert status == 0, screen
    assert files["50-performance"]["slow"] == ["all_lines"]
    assert "warning: all_lines: median" in screen
