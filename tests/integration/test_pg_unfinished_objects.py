"""What cancelled statements leave is found and finished; what cannot be is named with the next command."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import psycopg2
from ansible.module_utils.runbook.plan.loader import load_plan
from support.modules import run_module
from support.servers import SUPERUSER, Options, connect, query, value

PLAN = load_plan(str(Path(__file__).resolve().parents[2] / "sql" / "tracks_posts_separation"))


def look(options: Options, **more: Any) -> dict[str, Any]:
    return run_module("pg_unfinished_objects", connection=dict(options), plan=PLAN, **more)


def leave_an_invalid_index(options: Options) -> None:
    with connect(options) as holder, connect(options) as builder:
        holder.cursor().execute("BEGIN; SELECT pg_current_xact_id(); LOCK TABLE public.tracks IN ROW EXCLUSIVE MODE")
        with builder.cursor() as cursor, contextlib.suppress(psycopg2.Error):
            cursor.execute("SET lock_timeout = '100ms'")
            cursor.execute("CREATE INDEX CONCURRENTLY idx_tracks_user_id ON public.tracks (user_id)")


def test_all_three_are_found_and_finished(database: Options, tmp_path: Path) -> None:
    leave_an_invalid_index(database)
    query(database, "ALTER TABLE public.tracks ADD CONSTRAINT tracks_duration CHECK (duration > 0) NOT VALID")
    member = "supabase_realtime: public.posts"
    carried = [{"what": "publication membership", "meaning": "", "objects": [member]}]
    (tmp_path / "manifest.json").write_text(json.dumps({"not_carried": carried}))
    query({**database, "user": SUPERUSER}, "ALTER PUBLICATION supabase_realtime DROP TABLE public.posts")
    found = look(database, backup_directory=str(tmp_path))
    assert not found["changed"]
    assert [entry["kind"] for entry in found["objects"]] == [
        "constraint not validated",
        "invalid index",
        "table outside publication",
    ]
    assert found["rows_examined"] > 10
    assert look(database, backup_directory=str(tmp_path), apply=True, _check=True)["changed"]
    done = look(database, backup_directory=str(tmp_path), apply=True)
    assert not done["failed"], done["msg"]
    assert (len(done["done"]), done["left"]) == (3, [])
    assert value(database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.idx_tracks_user_id'::regclass")
    assert not look(database, backup_directory=str(tmp_path), apply=True)["changed"]
    assert value(database, "SELECT issue FROM migration_runbook.repair") == "unfinished_objects"


def test_rows_that_break_a_constraint_lead_to_their_issue(database: Options) -> None:
    query(database, "UPDATE public.tracks SET duration = 0 WHERE id = (SELECT min(id::text)::uuid FROM public.tracks)")
    query(database, "ALTER TABLE public.tracks ADD CONSTRAINT tracks_duration CHECK (duration > 0) NOT VALID")
    failed = look(database, apply=True)
    assert failed["failed"]
    assert "constraint not validated tracks_duration of public.tracks could not be finished" in failed["msg"]
    assert "can be resumed" in failed["msg"]
    assert failed["next_command"].endswith("-e issue=constraint_violation")
