"""The assessment: what each way back would lose, row by row, and which writes are the new application's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.plan.loader import plan_hash
from application import add_entry, execute, insert_post, make_playlist, make_user
from plan_sql import FINALIZE, VERSIONS, plan
from support.modules import run_module
from support.servers import Options, application_session, query

DatabaseAt = Callable[[str], Options]
FILE = "https://cdn.example.org/library.mp3"


@pytest.fixture
def logged(database_at: DatabaseAt) -> Options:
    """All migrations applied, and what is written from now on logged."""
    options = database_at(FINALIZE)
    ledger = "INSERT INTO supabase_migrations.schema_migrations (version) SELECT unnest(%s) RETURNING version"
    query(options, ledger, (list(VERSIONS),))
    done = run_module(
        "pg_change_log",
        connection=dict(options),
        tables=plan()["protected_tables"],
        kept=plan()["change_log"],
    )
    assert not done["failed"], done["msg"]
    return options


def assess(options: Options, directory: Path, **more: Any) -> dict[str, Any]:
    run = {
        "id": "20260101T000000Z-abcdef",
        "directory": str(directory),
        "plan_hash": plan_hash(plan()["directory"]),
        "environment": "local",
        "host": "test_database",
        "state": "complete",
    }
    result = run_module("pg_rollback_info", connection=dict(options), plan=plan(), run=run, **more)
    assert not result["failed"], result["msg"]
    assert result["changed"] is False, "it only reads"
    return result


def upload(session: Any, user: str) -> str:
    statement = "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id"
    return str(execute(session, statement, (user, FILE))[0][0])


def test_what_a_restore_loses_is_told_by_table_and_operation_with_samples(logged: Options, tmp_path: Path) -> None:
    user = make_user(logged)
    with application_session(logged, user) as session:
        posts = sorted(str(insert_post(session, user, f"{FILE}?{number}")[0]) for number in range(7))
        playlist = make_playlist(logged, user)
        alone = upload(session, user)
        add_entry(session, playlist, alone)
    lonely = (
        "SELECT min(c.id::text)::uuid FROM public.comments AS c"
        " WHERE NOT EXISTS (SELECT FROM public.comments AS r WHERE r.parent_comment_id = c.id)"
    )
    gone = str(query(logged, f"DELETE FROM public.comments WHERE id = ({lonely}) RETURNING id")[0][0])
    result = assess(logged, tmp_path)
    tables = {table["table"]: table for table in result["written"]["tables"]}
    assert tables["public.posts"]["samples"] == [{"key": key, "operation": "inserted"} for key in posts[:5]]
    assert tables["public.comments"]["samples"] == [{"key": gone, "operation": "deleted"}]
    rows = sum(table[what] for table in tables.values() for what in ("inserted", "updated", "deleted"))
    restore = next(method for method in result["methods"] if method["name"] == "restore")
    assert restore["loses"] == f"{rows} rows written since the snapshot; the safety backup contains them"
    assert any(line.startswith("  public.comments: 0 inserted, 0 updated, 1 deleted; for") for line in result["lines"])
    archived = {entry["what"]: entry for entry in result["archived_by_reverse"]}
    assert archived["playlist entries of tracks that no post uses"]["rows"] == 1
    assert archived["tracks that the migration made, kept whole"]["rows"] > 300
    assert len(archived["tracks that the migration made, kept whole"]["keys"]) == 5


def test_without_a_whole_change_log_the_loss_is_not_known_and_why(logged: Options, tmp_path: Path) -> None:
    query(logged, "TRUNCATE public.comments")
    loses = {method["name"]: method["loses"] for method in assess(logged, tmp_path)["methods"]}
    assert loses["restore"].startswith(
        "every write since the snapshot, number unknown: public.comments has been truncated since"
    )
    run_module("pg_change_log", connection=dict(logged), state="absent")
    result = assess(logged, tmp_path)
    assert "number unknown: there is no change log of public.tracks" in result["methods"][1]["loses"]
    assert any("not known: there is no change log of" in line for line in result["lines"])


def test_uploads_and_deletions_of_the_library_are_seen_and_the_old_applications_writes_are_not(
    logged: Options, tmp_path: Path
) -> None:
    user = make_user(logged)
    with application_session(logged, user) as session:
        post, _ = insert_post(session, user, FILE)
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (f"{FILE}?2", post))
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
        result = assess(logged, tmp_path)
        assert result["new_application_writes"] == []
        assert any(
            line.startswith("Not detected as writes of the new application: what both") for line in result["lines"]
        )
        track = upload(session, user)
        (found,) = assess(logged, tmp_path)["new_application_writes"]
        assert [(row["key"], row["operation"]) for row in found["samples"]] == [(track, "I")]
        execute(session, "DELETE FROM public.tracks WHERE id = %s", (track,))
    (found,) = assess(logged, tmp_path)["new_application_writes"]
    assert sorted(row["operation"] for row in found["samples"]) == ["D", "I"]


def test_times_are_those_that_were_measured(logged: Options, tmp_path: Path) -> None:
    before = {method["name"]: method for method in assess(logged, tmp_path)["methods"]}
    assert (before["restore"]["seconds"], before["reverse"]["seconds"]) == (None, None)
    assert before["restore"]["loses"] == "nothing: the application has written nothing since the snapshot"
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "drill.json").write_text('{"restore_seconds": 3.2}')
    query(
        logged,
        "INSERT INTO migration_runbook.step"
        " (run_id, version, direction, step_number, name, kind, sha256, state, started_at, finished_at)"
        " SELECT 'x', %s, 'applied', 1, 'a', 'transaction', '', 'done', now(), now() + interval '10 s' RETURNING id",
        (FINALIZE,),
    )
    after = {method["name"]: method for method in assess(logged, tmp_path)["methods"]}
    assert after["restore"]["seconds"] == 3.2
    assert after["reverse"]["seconds"] == 8 + 1.8 * 10


def test_without_a_change_log_the_next_command_is_the_reverse_that_keeps_everything(
    logged: Options, tmp_path: Path
) -> None:
    (tmp_path / "backup").mkdir()
    log = {"tables": plan()["protected_tables"], "kept": plan()["change_log"], "state": "absent"}
    ended = run_module("pg_change_log", connection=dict(logged), **log)
    assert not ended["failed"], ended["msg"]
    looked = assess(logged, tmp_path)
    reverse = looked["methods"][0]
    typed = "ansible-playbook rollback.yml -e method=reverse -e rollback_application_stopped=true"
    assert not reverse["possible"]
    assert looked["recommended"] == "reverse"
    assert f"  next command for it: {typed}" in looked["lines"]
    assert looked["lines"][-1] == f"Next: stop the new application, then: {typed}"
    said = assess(logged, tmp_path, application_stopped=True)
    assert said["methods"][0]["possible"]
    assert said["lines"][-1] == f"Next: {typed}"
