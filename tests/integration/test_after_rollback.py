"""What an operator who looks again after a rollback is shown: the run as it ended, and never a failure for that."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal.schema import ensure
from support.migrated import Migrated
from support.modules import run_module
from support.playbooks import PLAN_DIRECTORY, Operator, Outcome
from support.servers import Options, query, value

REVERSE = ("rollback.yml", "-e", "method=reverse", "-e", "rollback_application_stopped=true")
RESTORE = ("rollback.yml", "-e", "method=restore", "-e", '{"rollback_options": {"watch_seconds": 0.2}}')
RUNS = """
    INSERT INTO migration_runbook.run (run_id, plan, plan_hash, environment, host, directory, state, started_at)
    VALUES ('a', 'p', 'hash of a', 'local', 'h', '/a', 'complete', '2026-01-01'),
           ('b', 'p', 'hash of b', 'local', 'h', '/b', 'rolled_back', '2026-01-02') RETURNING run_id
"""
WITHOUT_A_RUN = ["playbooks/report.yml", "rollback.yml", "playbooks/drill_backup.yml"]
VERSIONS = [path.name.split("_")[0] for path in sorted((PLAN_DIRECTORY / "migrations").glob("*.sql"))]
JOURNAL = "SELECT run_id, state, finished_at, (SELECT count(*) FROM migration_runbook.event) FROM migration_runbook.run"


@pytest.mark.parametrize("method", [REVERSE, RESTORE], ids=["reverse", "restore"])
def test_what_is_rolled_back_can_be_looked_at_and_its_backup_drilled(
    migrated: Migrated, method: tuple[str, ...]
) -> None:
    options, operator = migrated.options, migrated.operator
    undone = operator.type(*method)
    assert undone.status == 0, undone.screen
    ended, before = operator.report(), query(options, JOURNAL)
    run = ended["run"]["id"]
    assert_what_was_undone_is_said(operator, undone, reverse=method == REVERSE)

    report = operator.type("playbooks/report.yml")
    assert report.status == 0, report.screen
    assert f"run {run}: rolled back" in report.text
    assert "changed=0" in report.text
    again = operator.report()
    for key in ("state", "failure", "next_command", "migrations", "reversed", "restore"):
        assert again[key] == ended[key], key

    said = operator.type("rollback.yml")
    assert said.status == 0, said.screen
    assert f"Run {run} is already rolled back. Nothing was changed." in said.text
    assert f"{operator.runs()[-1]}/report.md" in said.text
    assert "Next, once the cause is removed: ansible-playbook migrate.yml" in said.text
    assert "possible now" not in said.text

    drilled = operator.type("playbooks/drill_backup.yml")
    assert drilled.status == 0, drilled.screen
    assert f"Run {run} was rolled back. Its backup still exists and is drilled" in drilled.text
    assert "compared with the data snapshot" in drilled.text
    assert (operator.runs()[-1] / "backup" / "drill.json").exists()

    refused = operator.type(*method)
    assert refused.status == 2
    assert f"has no run that is open or complete: the newest, {run}, is rolled back. Nothing was changed." in (
        refused.text
    )
    assert query(options, JOURNAL) == before


def assert_what_was_undone_is_said(operator: Operator, undone: Outcome, *, reverse: bool) -> None:
    """On the screen, in the report and in the incident, whose timeline has the steps that count no more."""
    (directory,) = operator.runs()[-1].glob("incidents/*-rolled_back")
    timeline = [entry["what"] for entry in json.loads((directory / "incident.json").read_text())["timeline"]]
    for version in VERSIONS:
        if reverse:
            assert re.search(rf"migration {version}: undone in [\d.]+ s", undone.text), undone.screen
            assert f"migration {version}: applied in" not in undone.text
        else:
            forward = rf"migration {version}: applied in [\d.]+ s, \d+ rows moved; undone by the restore"
            assert re.search(forward, undone.text), undone.screen
        superseded = [what for what in timeline if what.startswith(f"{version} applied, step 1 ")]
        assert superseded, timeline
        assert all("(superseded 20" in what for what in superseded)
        assert not reverse or [what for what in timeline if what.startswith(f"{version} reverted, step 1 ")]
    assert "than expected" not in undone.text
    assert "for a small database" not in undone.text
    pages = [operator.runs()[-1] / "report.md", directory / "incident.md"]
    assert [reverse] * 2 == ["## What was undone" in page.read_text() for page in pages]


@pytest.mark.parametrize("playbook", WITHOUT_A_RUN)
def test_where_there_never_was_a_run_the_refusal_says_on_which_database(
    database: Options, tmp_path: Path, playbook: str
) -> None:
    done = Operator(tmp_path, database).type(playbook)
    assert done.status == 2
    assert f"The journal of database {database['dbname']} on {database['host']} (test_database) has no run" in done.text
    assert "Nothing was changed. Next: ansible-playbook playbooks/" in done.text
    assert value(database, "SELECT to_regnamespace('migration_runbook') IS NULL")


@pytest.mark.parametrize(
    ("rolled_back", "expected"), [("refused", "a"), ("if_no_other", "a"), ("if_newest", "b")], ids=str
)
def test_of_a_complete_run_and_a_newer_one_that_is_rolled_back(
    empty_database: Options, rolled_back: str, expected: str
) -> None:
    """A command and its check mode use the first run; a question about the result uses the last one."""
    with session(empty_database, SessionSettings(application_name="test")) as connection:
        ensure(connection)
    query(empty_database, RUNS)
    found = run_module(
        "pg_run_info",
        connection=dict(empty_database),
        plan_directory=str(PLAN_DIRECTORY),
        artifacts_directory="/nowhere",
        environment_name="local",
        host="h",
        existing=True,
        rolled_back=rolled_back,
    )
    assert (found["id"], found["directory"], found["plan_hash"]) == (expected, f"/{expected}", f"hash of {expected}")
    assert found["last_run"] == {"id": "b", "state": "rolled_back", "directory": "/b"}
    assert found["newest_directory"] == "/a"
