"""Every dirty case is found, repaired by its command, and the migration then completes; archived rows come back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.repair.archive import set_up_archive
from plan_sql import FINALIZE, MIGRATE, PLAYLISTS, PREPARE, VERSIONS, apply, owner_session, plan
from support.modules import run_module
from support.servers import SUPERUSER, Options, Server, load_demo, query, value

AS_OWNER = {"locking": {"lock_attempts": 2, "lock_pause_seconds": 0.1}}


@pytest.fixture(scope="session")
def dirty_template(server: Server) -> str:
    options = server.create_database()
    load_demo(options, dirty=True)
    return str(options["dbname"])


@pytest.fixture
def dirty(server: Server, dirty_template: str) -> Iterator[Options]:
    options = server.create_database(dirty_template)
    yield options
    server.drop_database(options)


def diagnose(options: Options, issue: str = "", **more: Any) -> dict[str, Any]:
    return run_module("pg_repair", connection=dict(options), plan=plan(), issue=issue, **more)


def repair(options: Options, issue: str, **more: Any) -> dict[str, Any]:
    result = run_module("pg_repair", connection=dict(options), plan=plan(), issue=issue, apply=True, **AS_OWNER, **more)
    assert not result["failed"], result["msg"]
    return result


def restore(options: Options, **which: Any) -> dict[str, Any]:
    return run_module("pg_restore_archived", connection=dict(options), plan=plan(), **which)


def damage(options: Options, *statements: str) -> None:
    """As the superuser, with keys and triggers switched off."""
    for statement in statements:
        query({**options, "user": SUPERUSER}, f"SET session_replication_role = replica; {statement}")


def rows_of(options: Options, table: str) -> dict[str, str]:
    return dict(query(options, f"SELECT id::text, to_jsonb(t)::text FROM {table} AS t"))


def found(options: Options) -> dict[str, int]:
    return {entry["issue"]: entry["rows_found"] for entry in diagnose(options)["issues"]}


def test_the_list_names_every_issue_with_its_rows_and_the_command_and_changes_nothing(dirty: Options) -> None:
    before = rows_of(dirty, "public.posts")
    result = diagnose(dirty)
    assert not result["changed"]
    numbers = {entry["issue"]: entry["rows_found"] for entry in result["issues"]}
    assert numbers["orphaned_posts"] >= 15
    assert numbers["playlist_references"] >= 4
    assert numbers["track_id_clash"] >= 2
    assert numbers["constraint_violation"] >= 2
    assert numbers["playlist_reposts"] >= 2
    assert any("-e issue=orphaned_posts -e apply=true -e remedy=archive" in line for line in result["summary"])
    assert all(entry["rows_examined"] > 0 for entry in result["issues"])
    assert rows_of(dirty, "public.posts") == before
    assert value(dirty, "SELECT to_regnamespace('tracks_posts_separation') IS NULL")


def test_every_dirty_case_is_repaired_and_the_migration_completes_and_archived_rows_come_back(
    dirty: Options, tmp_path: Path
) -> None:
    clean_posts = {
        key: text for key, text in rows_of(dirty, "public.posts").items() if key not in keys_of(dirty, "orphaned_posts")
    }
    order = (
        "SELECT playlist_id, id FROM public.playlist_tracks WHERE id <> ALL (%s::uuid[])"
        " ORDER BY playlist_id, position, id"
    )
    wrong_entries = keys_of(dirty, "playlist_references")
    order_before = query(dirty, order, (wrong_entries,))

    listed = diagnose(dirty, "orphaned_posts", directory=str(tmp_path))
    assert Path(listed["work_list"]).stat().st_mode & 0o777 == 0o600
    reasons = " ".join(listed["reasons"])
    for reason in ("is empty", "whitespace only", "without profile", "over 255", "size not", "duration not"):
        assert reason in reasons
    lines = correct(Path(listed["work_list"]), lambda line: "without profile" not in line["reason"])
    repaired = repair(dirty, "orphaned_posts", remedy="work_list", work_list=listed["work_list"])
    assert (repaired["rows_changed"], repaired["rows_archived"]) == (len(lines), 0)
    archived = repair(dirty, "orphaned_posts", remedy="archive")
    assert archived["rows_found"] == listed["rows_found"] - len(lines)
    assert archived["rows_left"] == 0
    pointed = repair(dirty, "playlist_references")
    assert (pointed["rows_archived"], pointed["rows_left"]) == (len(wrong_entries), 0)
    assert repair(dirty, "track_id_clash", remedy="new_id")["rows_left"] == 0
    violations = repair(dirty, "constraint_violation")
    assert violations["rows_left"] == 0
    assert {name: number for name, number in found(dirty).items() if number} == {
        "playlist_reposts": found(dirty)["playlist_reposts"]
    }
    now = rows_of(dirty, "public.posts")
    assert {key: now.get(key) for key in clean_posts} == clean_posts
    assert query(dirty, order, (wrong_entries,)) == order_before

    apply(dirty, *VERSIONS)
    assert value(dirty, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 0

    # The profile that was missing is made; then the posts, with what hung on them, are back, and have their tracks.
    for table in ("auth.users", "public.profiles"):
        query(
            {**dirty, "user": SUPERUSER},
            f"INSERT INTO {table} (id) SELECT DISTINCT (row_data ->> 'user_id')::uuid FROM"
            " tracks_posts_separation.archive WHERE table_name IN ('public.posts', 'public.tracks')"
            " ON CONFLICT DO NOTHING",
        )
    typed = "ansible-playbook playbooks/restore_archived.yml -i inventories/production -e confirm=it"
    *_, ways, _ = restore(dirty, retry_command=typed)["summary"]
    assert ways == (f"next: {typed} -e archive_ids=<id>,<id>, or -e \"reason='<reason>'\", or -e archived_by=<id>")
    assert restore(dirty, reason="none", retry_command=typed)["next_command"] == typed
    back = restore(dirty, archived_by=archived["repair_id"])
    assert not back["failed"], back["msg"]
    assert back["rows_restored"] == archived["rows_archived"]
    assert restore(dirty, archived_by=violations["repair_id"])["rows_restored"] == violations["rows_archived"]
    assert value(dirty, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 0
    stays = restore(dirty, archived_by=pointed["repair_id"])
    assert stays["failed"]
    assert "is not present in table" in stays["msg"]
    assert "Nothing was changed." in stays["msg"]
    track = value(dirty, "SELECT id::text FROM public.tracks ORDER BY id LIMIT 1")
    assert restore(dirty, archived_by=pointed["repair_id"], values={"track_id": track})["rows_restored"] >= 1
    assert value(dirty, "SELECT count(*) FROM migration_runbook.repair") == 8


def test_a_repair_again_changes_nothing_and_the_same_list_again_neither(dirty: Options, tmp_path: Path) -> None:
    path = diagnose(dirty, "orphaned_posts", directory=str(tmp_path))["work_list"]
    correct(Path(path), lambda line: "without profile" not in line["reason"])
    assert repair(dirty, "orphaned_posts", remedy="work_list", work_list=path)["changed"]
    assert not repair(dirty, "orphaned_posts", remedy="work_list", work_list=path)["changed"]
    assert repair(dirty, "playlist_references")["changed"]
    assert not repair(dirty, "playlist_references")["changed"]


def test_each_wrong_line_is_named_and_nothing_is_applied(dirty: Options, tmp_path: Path) -> None:
    path = Path(diagnose(dirty, "orphaned_posts", directory=str(tmp_path))["work_list"])
    lines = correct(path, lambda line: True)
    gone = "00000000-0000-0000-0000-000000000000"
    lines[0]["audio_url"] = " "
    lines[1]["audio_duration"] = "0"
    lines[2]["reason"] = "I looked at it"
    lines[3]["key"] = gone
    write(path, lines)
    before = rows_of(dirty, "public.posts")
    result = run_module(
        "pg_repair", connection=dict(dirty), plan=plan(), issue="orphaned_posts", apply=True, remedy="work_list",
        work_list=str(path),
    )  # fmt: skip
    assert result["failed"]
    assert "line 4: reason is 'I looked at it', the database has" in result["msg"]
    assert f"line 5: {gone} is no longer found" in result["msg"]
    assert "Nothing was changed." in result["msg"]
    lines[2]["reason"] = lines[2].pop("_reason")
    lines.pop(3)
    write(path, lines)
    result = run_module(
        "pg_repair", connection=dict(dirty), plan=plan(), issue="orphaned_posts", apply=True, remedy="work_list",
        work_list=str(path),
    )  # fmt: skip
    assert "line 2: audio_url is blank" in result["msg"]
    assert "line 3: audio_duration is not a positive number" in result["msg"]
    assert "user_id has no profile" in result["msg"]
    assert rows_of(dirty, "public.posts") == before


def test_a_list_with_another_header_is_refused(dirty: Options, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,audio_url\n")
    result = run_module(
        "pg_repair", connection=dict(dirty), plan=plan(), issue="orphaned_posts", apply=True, remedy="work_list",
        work_list=str(path),
    )  # fmt: skip
    assert "line 1: the header is id,audio_url; it must be key,reason" in result["msg"]


def test_an_unknown_issue_a_missing_remedy_and_check_mode(dirty: Options) -> None:
    unknown = diagnose(dirty, "nothing")["msg"]
    assert "unknown issue nothing; choose one of orphaned_posts" in unknown
    assert "unfinished_objects, takes_too_long" in unknown
    asked = run_module("pg_repair", connection=dict(dirty), plan=plan(), issue="orphaned_posts", apply=True)
    assert "orphaned_posts has several remedies: remedy=work_list" in asked["msg"]
    # Typed as it stands, it shows each remedy's command; with the first remedy it would be refused for want of a file.
    assert asked["next_command"] == "ansible-playbook playbooks/repair.yml -e issue=orphaned_posts"
    for number in ("x", "7;8", "-1", "1e3", "9" * 30):
        refused = restore(
            dirty, archive_ids=["1", number], retry_command="ansible-playbook playbooks/restore_archived.yml"
        )
        assert f"archive_ids must be a list of archive ids; these are not: {number}" in refused["msg"]
        assert refused["next_command"] == "ansible-playbook playbooks/restore_archived.yml"
    would = run_module(
        "pg_repair", _check=True, connection=dict(dirty), plan=plan(), issue="playlist_references", apply=True
    )
    assert would["changed"]
    assert "would be repaired" in would["msg"]
    assert value(dirty, "SELECT to_regnamespace('migration_runbook') IS NULL")


def test_archiving_takes_what_hangs_on_a_row_along_and_refuses_what_could_not_come_back(dirty: Options) -> None:
    (post,) = keys_of(dirty, "orphaned_posts")[:1]
    query(dirty, "INSERT INTO public.comments (post_id, user_id, content) SELECT id, user_id, 'so it was'"
          " FROM public.posts WHERE id = %s", (post,))  # fmt: skip
    hanging = value(dirty, "SELECT count(*) FROM public.comments WHERE post_id = %s", (post,))
    damage(dirty, f"INSERT INTO moderation.reported_posts (post_id, reason) VALUES ('{post}', 'noise')")
    refused = run_module(
        "pg_repair",
        connection=dict(dirty),
        plan=plan(),
        issue="orphaned_posts",
        apply=True,
        remedy="archive",
        keys=[post],
    )
    assert "rows of moderation.reported_posts reference these rows of public.posts" in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    damage(dirty, f"DELETE FROM moderation.reported_posts WHERE post_id = '{post}'")
    before = rows_of(dirty, "public.comments")
    done = repair(dirty, "orphaned_posts", remedy="archive", keys=[post])
    assert done["rows_archived"] > hanging >= 1
    assert restore(dirty, archived_by=done["repair_id"])["rows_restored"] == done["rows_archived"]
    assert rows_of(dirty, "public.comments") == before


def test_duplicate_tracks_are_merged_onto_the_oldest(database: Options) -> None:
    apply(database, *VERSIONS)
    query(database, "INSERT INTO public.tracks (id, user_id, title, file_url, created_at)"
          " SELECT gen_random_uuid(), user_id, 'again', file_url, created_at + interval '1 day' FROM public.tracks"
          " ORDER BY id LIMIT 3")  # fmt: skip
    duplicate, kept = query(
        database,
        "SELECT d.id::text, t.id::text FROM public.tracks d JOIN public.tracks t USING (user_id, file_url)"
        " WHERE d.title = 'again' AND t.title <> 'again' LIMIT 1",
    )[0]
    query(database, "INSERT INTO public.playlist_tracks (playlist_id, track_id, position)"
          " SELECT id, %s, 5000 FROM public.playlists ORDER BY id LIMIT 1", (duplicate,))  # fmt: skip
    done = repair(database, "duplicate_tracks")
    assert done["rows_found"] == 3
    assert done["rows_archived"] >= 3
    assert value(database, "SELECT count(*) FROM public.tracks WHERE title = 'again'") == 0
    held = "SELECT count(*) FROM public.playlist_tracks WHERE track_id = %s"
    assert value(database, held, (kept,)) >= 1
    assert (
        restore(database, archived_by=done["repair_id"], reason="duplicate_tracks: an older track has this file")[
            "rows_restored"
        ]
        == 3
    )


def test_violations_of_migration_4_are_named_by_constraint_and_repaired(database: Options) -> None:
    apply(database, *VERSIONS[:-1])
    ids = [
        row[0] for row in query(database, "SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 2")
    ]
    updated = "SELECT id, updated_at FROM public.posts ORDER BY id"
    before = query(database, updated)
    damage(
        database,
        f"UPDATE public.posts SET track_id = NULL WHERE id = '{ids[0]}'",
        f"UPDATE public.posts SET track_id = gen_random_uuid() WHERE id = '{ids[1]}'",
    )
    result = diagnose(database, "constraint_violation")
    assert result["reasons"] == {"audio_posts_must_have_track": 1, "posts_track_id_fkey": 1}
    with pytest.raises(Exception, match="audio_posts_must_have_track"):
        apply(database, FINALIZE)
    assert repair(database, "constraint_violation")["rows_left"] == 0
    assert query(database, updated) == before
    apply(database, FINALIZE)


def test_entries_of_posts_after_migration_3_are_repointed(database: Options) -> None:
    apply(database, VERSIONS[0], MIGRATE, PLAYLISTS)
    post = query(database, "SELECT id FROM public.posts WHERE post_type = 'audio' AND track_id <> id LIMIT 1")[0][0]
    damage(database, "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) SELECT id, "
           f"'{post}', 7000 FROM public.playlists ORDER BY id DESC LIMIT 1")  # fmt: skip
    result = diagnose(database, "playlist_references")
    assert result["reasons"] == {"points at a post": 1}
    done = repair(database, "playlist_references")
    assert done["rows_changed"] + done["rows_archived"] == 1
    assert done["rows_left"] == 0


def keys_of(options: Options, issue: str) -> list[str]:
    path = next(entry["find"] for entry in plan()["repairs"] if entry["issue"] == issue)
    return [str(row[0]) for row in query(options, Path(path).read_text())]


def correct(path: Path, wanted: Any) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if wanted(line)]
    for number, line in enumerate(lines):
        line["_reason"] = line["reason"]
        line["audio_url"] = line["audio_url"].strip() or f"https://cdn.example.org/audio/mended-{number}.mp3"
        line["audio_filename"] = line["audio_filename"][:255]
        line["audio_duration"] = "" if line["audio_duration"] == "0" else line["audio_duration"]
        line["audio_file_size"] = "" if line["audio_file_size"] == "0" else line["audio_file_size"]
    write(path, lines)
    return lines


def write(path: Path, lines: list[dict[str, str]]) -> None:
    names = [name for name in lines[0] if name != "_reason"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)


def test_a_repair_before_migration_1_makes_the_archive_of_migration_1(empty_database: Options) -> None:
    load_demo(empty_database, 50)
    archive = (
        "SELECT column_name, data_type, is_nullable, column_default, is_identity, (SELECT count(*) FROM pg_indexes"
        " WHERE tablename = 'archive'),"
        " has_table_privilege('authenticated', 'tracks_posts_separation.archive', 'SELECT')"
        " FROM information_schema.columns WHERE table_schema = 'tracks_posts_separation' AND table_name = 'archive'"
        " ORDER BY ordinal_position"
    )
    with owner_session(empty_database) as session, session.cursor() as cursor:
        set_up_archive(cursor, plan())
    made = query(empty_database, archive)
    assert [(row[0], row[5], row[6]) for row in made] == [
        (name, 2, False) for name in ("id", "reason", "table_name", "row_data", "run_id", "archived_at")
    ]
    apply(empty_database, PREPARE)
    assert query(empty_database, archive) == made


def test_the_known_issues_of_preflight_show_their_rows(dirty: Options, tmp_path: Path) -> None:
    from_preflight = {name for issue in plan()["troubleshooting"] for name in issue["when"].get("findings", [])}
    results = tmp_path / "results"
    results.mkdir()
    findings = [{"name": name, "severity": "blocking"} for name in sorted(from_preflight)]
    (results / "10-environment.json").write_text(json.dumps({"failed": True, "findings": findings}))
    options = {"plan": plan(), "run_directory": str(tmp_path)}
    shown = run_module("pg_troubleshooting_info", connection=dict(dirty), **options)
    assert shown["issues"]
    assert not any(issue["error"] for issue in shown["issues"])
    by_title = {issue["issue"]: issue["rows_total"] for issue in shown["issues"]}
    assert by_title["Orphaned audio posts"] == found(dirty)["orphaned_posts"]


def test_rows_of_two_partitions_are_archived_both(dirty: Options) -> None:
    """Rows of two partitions have the same ctid: each is archived, none only goes along."""
    (post,) = keys_of(dirty, "orphaned_posts")[:1]
    query(
        dirty,
        "CREATE TABLE public.likes (id integer, kind text, post_id uuid REFERENCES public.posts ON DELETE CASCADE)"
        " PARTITION BY LIST (kind);"
        "CREATE TABLE public.likes_a PARTITION OF public.likes FOR VALUES IN ('a');"
        "CREATE TABLE public.likes_b PARTITION OF public.likes FOR VALUES IN ('b')",
    )
    query(dirty, "INSERT INTO public.likes VALUES (1, 'a', %(post)s), (2, 'b', %(post)s)", {"post": post})

    done = repair(dirty, "orphaned_posts", remedy="archive", keys=[post])

    assert value(dirty, "SELECT count(*) FROM public.likes") == 0
    assert restore(dirty, archived_by=done["repair_id"])["rows_restored"] == done["rows_archived"]
    assert query(dirty, "SELECT id, kind FROM public.likes ORDER BY 1") == [(1, "a"), (2, "b")]
