"""Retiring is refused while the log shows the old application, or is missing; then it drops triggers and functions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from support.migrated import Migrated
from support.modules import run_module
from support.playbooks import Operator
from support.servers import SUPERUSER, Options, query, value

TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%tracks\\_posts\\_separation%%' AND NOT tgisinternal"
OLD_POST = (
    "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename) SELECT id, 'New', 'audio',"
    " 'https://cdn.example.org/audio/late.mp3', 'late.mp3' FROM public.profiles ORDER BY id LIMIT 1 RETURNING id::text"
)


def age(options: Options, days: int) -> None:
    """Let the watch and what it logged be older."""
    for column, table in (("at", "change"), ("made_at", "watch")):
        query(
            {**options, "user": SUPERUSER},
            f"UPDATE migration_runbook.{table} SET {column} = {column} - interval '{days} days'",
        )


def retire(operator: Operator, *arguments: str) -> Any:
    return operator.type("playbooks/retire_compatibility.yml", *arguments)


def test_it_waits_for_the_quiet_days_then_retires_once_and_the_checks_pass(migrated: Migrated) -> None:
    operator, database = migrated.operator, migrated.options
    fresh = retire(operator)
    assert fresh.status == 2
    assert "its writes have been logged only since" in fresh.text
    post = value(database, OLD_POST)
    age(database, 10)
    seen = retire(operator)
    assert "the old application wrote 1 rows, the last at" in seen.text
    assert f"(public.posts {post})" in seen.text
    assert "it must not write for 14 days. Nothing was changed." in seen.text
    age(database, 10)
    query(
        database, "UPDATE public.posts SET content = 'Edited' WHERE id = (SELECT min(id::text)::uuid FROM public.posts)"
    )
    assert value(database, TRIGGERS) == 8
    would = retire(operator, "--check")
    assert re.search("would be retired: [2-9] logged changes examined, 1 of them by the old application", would.text)
    assert value(database, TRIGGERS) == 8
    done = retire(operator)
    assert done.status == 0, done.screen
    assert "logged changes examined, 1 of them by the old application" in done.text
    assert value(database, TRIGGERS) == 0
    assert value(database, "SELECT to_regprocedure('tracks_posts_separation.decide_track_of_post()') IS NULL")
    again = retire(operator)
    assert "the compatibility is already retired" in again.text
    assert "changed=0" in again.text
    checked = operator.type("playbooks/verify.yml")
    assert checked.status == 0, checked.screen


#: What no trigger follows any more. Each is allowed once the old application is gone.
AFTERWARDS = (
    "UPDATE public.tracks SET title = 'Another', file_url = file_url || '?v=2' WHERE id = {post}",
    "UPDATE public.tracks SET description = 'Another', updated_at = now() WHERE id = {post}",
    "UPDATE public.posts SET content = 'Another' WHERE id = {post}",
    "UPDATE public.posts SET content = 'Another', updated_at = now() + interval '1 h' WHERE id = {post}",
    "UPDATE public.posts SET audio_filename = 'other.mp3', audio_duration = 7 WHERE id = {post}",
    "UPDATE public.posts SET track_id = (SELECT id FROM public.tracks WHERE user_id = posts.user_id"
    " AND id <> posts.track_id LIMIT 1) WHERE id = {post}",
    "UPDATE public.posts SET track_id = (SELECT id FROM public.tracks WHERE user_id <> posts.user_id ORDER BY id"
    " LIMIT 1) WHERE id = {post}",
    "UPDATE public.posts SET post_type = 'text', track_id = NULL, audio_url = NULL, audio_filename = NULL,"
    " audio_mime_type = NULL, audio_file_size = NULL, audio_duration = NULL WHERE id = {post}",
    "DELETE FROM public.posts WHERE id = {post}",
    "INSERT INTO public.tracks (user_id, title, file_url)"
    " SELECT user_id, title, file_url FROM public.tracks WHERE id = {post}",
)  # fmt: skip


def test_what_the_application_may_do_afterwards_fails_no_check(migrated: Migrated) -> None:
    operator, database = migrated.operator, migrated.options
    age(database, 20)
    assert retire(operator).status == 0
    posts = query(
        database,
        "SELECT p.id::text FROM public.posts AS p WHERE p.track_id = p.id AND EXISTS ("
        "SELECT FROM public.tracks AS t WHERE t.user_id = p.user_id AND t.id <> p.id) ORDER BY p.id LIMIT %s",
        (len(AFTERWARDS),),
    )
    for statement, (post,) in zip(AFTERWARDS, posts, strict=True):
        query(database, statement.format(post=f"'{post}'"))
    checked = operator.type("playbooks/verify.yml")
    assert checked.status == 0, checked.screen


def test_without_the_log_it_wants_an_explicit_word(migrated: Migrated) -> None:
    operator, database = migrated.operator, migrated.options
    ended = operator.type("playbooks/end_change_log.yml")
    assert ended.status == 0, ended.screen
    refused = retire(operator)
    assert refused.status == 2
    assert "the change log was ended, so writes of the old application cannot be detected" in refused.text
    assert "-e retire_compatibility_without_log=true" in refused.text
    assert retire(operator, "-e", "retire_compatibility_without_log=true").status == 0
    assert value(database, TRIGGERS) == 0


def test_before_the_last_migration_it_is_refused(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    refused = retire(operator)
    assert "migration 20250122000004 is not applied" in refused.text
    plan = run_module("pg_plan_info", plan_directory="tests/plans/shop_shipments")["plan"]
    other = run_module("pg_retirement", connection=dict(database), plan=plan)
    assert "the plan defines no retirement" in other["msg"]


def test_only_the_inventory_of_the_complete_run_ends_what_it_left(migrated: Migrated, tmp_path: Path) -> None:
    """The same server, or a physical copy of it, named by the inventory of another host or environment."""
    age(migrated.options, 20)
    elsewhere = Operator(tmp_path, migrated.options, host="another_database")
    for playbook in ("playbooks/end_change_log.yml", "playbooks/retire_compatibility.yml"):
        refused = elsewhere.type(playbook)
        assert refused.status == 2, refused.screen
        assert (
            "was started by host test_database of environment local, and this is host another_database" in refused.text
        )
        assert "resume it, roll it back or clean up after it" in refused.text
    assert value(migrated.options, TRIGGERS) == 8
    assert value(migrated.options, "SELECT count(*) FROM migration_runbook.watch WHERE ended_at IS NULL") > 0
    assert elsewhere.type("playbooks/verify.yml").status == 0
    assert retire(migrated.operator).status == 0
