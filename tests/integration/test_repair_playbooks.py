"""The troubleshooting playbooks as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.migrated import Migrated
from support.playbooks import Operator
from support.servers import Options, Server, load_demo, query, value


@pytest.fixture
def dirty(server: Server) -> Iterator[Options]:
    options = server.create_database()
    load_demo(options, dirty=True)
    yield options
    server.drop_database(options)


@pytest.mark.slow  # the molecule scenario repair goes the same way
def test_the_commands_on_the_screen_make_a_dirty_database_migrate(dirty: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, dirty)
    refused = operator.type("migrate.yml")
    assert refused.status == 2
    assert "playbooks/repair.yml" in refused.text
    listed = operator.type("playbooks/repair.yml")
    assert listed.status == 0, listed.screen
    assert "orphaned_posts: " in listed.text
    assert "unfinished_objects: 0 of" in listed.text
    issues = {
        "orphaned_posts": "archive",
        "playlist_references": "",
        "track_id_clash": "new_id",
        "constraint_violation": "",
    }
    for issue, remedy in issues.items():
        command = f"-e issue={issue} -e apply=true" + (f" -e remedy={remedy}" if remedy else "")
        assert command in listed.text
        done = operator.type("playbooks/repair.yml", *command.split())
        assert done.status == 0, done.screen
        assert f"repaired {issue}: " in done.text
        assert ", 0 left" in done.text
    migrated = operator.type("migrate.yml")
    assert migrated.status == 0, migrated.screen
    assert operator.report()["state"] in ("complete", "complete_with_warnings")
    archive = operator.type("playbooks/restore_archived.yml")
    assert "playlist_references: points at a text post" in archive.text
    back = operator.type("playbooks/restore_archived.yml", "-e", "reason='orphaned_posts: duration not positive'")
    assert back.status == 0, back.screen
    assert "archived rows restored" in back.text
    assert value(dirty, "SELECT count(*) FROM public.posts WHERE audio_duration = 0 AND track_id IS NOT NULL") > 0
    slow = operator.type("playbooks/repair.yml", "-e", "issue=takes_too_long")
    assert slow.status == 0, slow.screen
    assert "no run is open" in slow.text


def test_forward_fix_names_what_is_left_and_goes_on_when_nothing_is(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    query(database, "CREATE FUNCTION public.posts(public.playlist_tracks) RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert operator.type("migrate.yml").status == 2
    entry = (
        "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) SELECT (SELECT id FROM public.playlists"
        " ORDER BY id LIMIT 1), p.id, 900 FROM public.posts AS p WHERE post_type = 'text' ORDER BY p.id LIMIT 1"
        " RETURNING id"
    )
    query({**database, "user": "supabase_admin"}, entry)
    forward_fix = ("rollback.yml", "-e", "method=forward_fix")
    confirmed = (*forward_fix, "-e", "confirm=test_database")
    applied = "SELECT count(*) FROM supabase_migrations.schema_migrations"
    before = value(database, applied)

    looked = operator.type(*forward_fix)
    assert looked.status == 0, looked.screen
    assert "playlist_references: 1 of " in looked.text
    assert "Left to repair: 1 rows of playlist_references." in looked.text
    assert "-e issue=playlist_references -e apply=true" in looked.text
    refused = operator.type(*confirmed)
    assert refused.status == 2
    assert "The run was not resumed: 1 rows of playlist_references would stop it again" in refused.text
    assert value(database, applied) == before

    mended = operator.type("playbooks/repair.yml", "-e", "issue=playlist_references", "-e", "apply=true")
    assert mended.status == 0, mended.screen
    query(database, "DROP FUNCTION public.posts(public.playlist_tracks)")
    (run,) = operator.runs()
    quiet = operator.type(*forward_fix)
    assert quiet.status == 0, quiet.screen
    assert "orphaned_posts: 0 of " in quiet.text
    assert "Next: ansible-playbook rollback.yml -e method=forward_fix -e confirm=test_database" in quiet.text
    went_on = operator.type(*confirmed)
    assert went_on.status == 0, went_on.screen
    assert "nothing is left to repair" in went_on.text
    assert operator.runs() == [run], "it is the same run"
    assert operator.report()["state"] in ("complete", "complete_with_warnings")


def test_forward_fix_of_a_complete_run_says_where_to_look_instead(migrated: Migrated) -> None:
    for confirmed in ([], ["-e", "confirm=test_database"]):
        refused = migrated.operator.type("rollback.yml", "-e", "method=forward_fix", *confirmed)
        assert refused.status == 2, refused.screen
        assert "forward_fix is not possible now: the run is complete and cannot be continued" in refused.text
        assert "Nothing was changed. Next: ansible-playbook playbooks/verify.yml" in refused.text
        assert "method=forward_fix -e confirm" not in refused.text
    said = migrated.operator.type("rollback.yml")
    assert "forward_fix: not possible now: the run is complete" in said.text


def test_outside_local_a_repair_wants_a_confirmation(dirty: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, dirty, runbook_environment="staging")
    refused = operator.type("playbooks/repair.yml", "-e", "issue=playlist_references", "-e", "apply=true")
    assert refused.status == 2
    assert "confirm was not given. Nothing was changed." in refused.text


def test_a_repair_without_an_issue_is_refused_and_not_a_diagnosis(dirty: Options, tmp_path: Path) -> None:
    refused = Operator(tmp_path, dirty).type("playbooks/repair.yml", "-e", "apply=true")
    assert refused.status == 2
    assert "apply=true repairs one issue, but -e issue= names none. Nothing was changed." in refused.text
    assert "Next: ansible-playbook playbooks/repair.yml lists each issue with" in refused.text


def test_each_failed_attempt_leaves_an_incident_report_with_its_evidence(dirty: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, dirty)
    refused = operator.type("migrate.yml")
    (first,) = operator.artifacts.glob("*/*/*/incidents/*")
    assert f"incident: {first}/incident.md" in refused.text
    incident = json.loads((first / "incident.json").read_text())
    assert incident["state"] == "refused"
    assert incident["trigger"]["phase"] == "10-environment"
    assert incident["state_now"]["meaning"] == "the failed command changed nothing"
    assert any(entry["name"] == "blank_audio_url" for entry in incident["findings"])
    assert any(entry["path"].endswith("10-environment.json") and entry["sha256"] for entry in incident["evidence"])
    assert (first / "results" / "10-environment.json").stat().st_mode & 0o777 == 0o600
    assert "## Timeline" in (first / "incident.md").read_text()
    evidence = (first / "results" / "10-environment.json").read_text()
    operator.type("migrate.yml")
    assert len(list(operator.artifacts.glob("*/*/*/incidents/*"))) == 2
    assert (first / "results" / "10-environment.json").read_text() == evidence


def test_a_failure_in_the_middle_is_one_incident_when_reported_twice(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    query(database, "CREATE FUNCTION public.posts(public.playlist_tracks) RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    failed = operator.type("migrate.yml")
    assert failed.status == 2
    (run_directory,) = operator.runs()
    (first,) = (run_directory / "incidents").iterdir()
    incident = json.loads((first / "incident.json").read_text())
    assert incident["state"] == "failed"
    assert incident["trigger"]["phase"] == "30-migration-20250122000003"
    assert incident["state_now"]["applied"] == ["20250122000000", "20250122000002"]
    assert incident["rows_affected"]["moved"]["20250122000002"] == 300
    what = [entry["what"] for entry in incident["timeline"]]
    assert what[0] == "the run was opened"
    assert any(words.startswith("20250122000002 applied, step") and "300 rows" in words for words in what)
    assert any(entry["path"] == "backup/manifest.json" for entry in incident["evidence"])
    operator.type("playbooks/report.yml")
    assert len(list((run_directory / "incidents").iterdir())) == 1
