"""What the migrated database holds, computed here from the rows as they were before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from application import (
    add_entry,
    archived,
    assert_sound_after_migration_3,
    entries,
    execute,
    failing_checks,
    insert_post,
    make_playlist,
    make_user,
    post_values,
    track_of,
)
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    VERSIONS,
    apply,
    owner_session,
    playlist_order,
    posts_without_track_id,
    rows,
    table,
)
from support.servers import Options, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"


def as_dicts(options: Options, statement: str) -> list[dict[str, Any]]:
    return [dict(row[0]) for row in query(options, f"SELECT to_jsonb(r) FROM ({statement}) AS r")]


def test_everything_but_track_id_is_as_it_was(database: Options) -> None:
    names = ("public.comments", "public.playlists", "moderation.reported_posts", "public.profiles")
    superuser = {**database, "user": "supabase_admin"}
    before = posts_without_track_id(database), {name: table(superuser, name) for name in names}
    uploads = as_dicts(database, "SELECT * FROM public.tracks ORDER BY id")
    apply(database, *VERSIONS)
    assert (posts_without_track_id(database), {name: table(superuser, name) for name in names}) == before
    after = {row["id"]: row for row in as_dicts(database, "SELECT * FROM public.tracks")}
    for upload in uploads:
        assert {column: after[upload["id"]][column] for column in upload} == upload


def test_every_file_of_a_user_has_the_right_track(database: Options) -> None:
    posts = as_dicts(database, "SELECT * FROM public.posts WHERE post_type = 'audio' ORDER BY created_at, id")
    uploads = as_dicts(database, "SELECT * FROM public.tracks ORDER BY created_at DESC, id DESC")
    library = {(row["user_id"], row["file_url"]): row["id"] for row in uploads}
    expected: dict[tuple[str, str], str] = {}
    for post in posts:
        key = (post["user_id"], post["audio_url"])
        expected.setdefault(key, library.get(key, post["id"]))
    shared = defaultdict(set)
    for user, file in expected:
        shared[file].add(user)
    assert len(expected) < len(posts), "the demo's rows hold reposts"
    assert library.keys() & expected.keys(), "the demo's rows hold posts of files that have a track"
    assert any(len(users) > 1 for users in shared.values()), "the demo's rows hold files of two users"

    apply(database, *VERSIONS)
    after = as_dicts(database, "SELECT * FROM public.posts WHERE post_type = 'audio'")
    assert {row["id"]: row["track_id"] for row in after} == {
        post["id"]: expected[post["user_id"], post["audio_url"]] for post in posts
    }
    tracks = {row["id"]: row for row in as_dicts(database, "SELECT * FROM public.tracks")}
    assert tracks.keys() == {row["id"] for row in uploads} | set(expected.values())
    by_id = {post["id"]: post for post in posts}
    for made in tracks.keys() - {row["id"] for row in uploads}:
        post, found = by_id[made], tracks[made]
        assert found == {
            **found,
            "user_id": post["user_id"],
            "title": post["audio_filename"].strip() or f"Audio from {post['created_at'][:10]}",
            "description": post["content"],
            "file_url": post["audio_url"],
            "duration": post["audio_duration"],
            "genre": None,
            "tags": None,
            "is_public": True,
            "play_count": 0,
            "created_at": post["created_at"],
            "updated_at": post["updated_at"],
            "file_size": post["audio_file_size"],
            "original_file_size": post["audio_file_size"],
            "mime_type": post["audio_mime_type"],
            "compression_ratio": 1.0,
            "compression_applied": False,
        }


def test_playlists_play_the_same_files_in_the_same_order(database: Options) -> None:
    def played(statement: str) -> list[Any]:
        return query(database, statement)

    files = """
        SELECT e.playlist_id, p.user_id, p.audio_url, min(e.position) FROM public.playlist_tracks e
        JOIN public.posts p ON p.id = e.track_id GROUP BY 1, 2, 3 ORDER BY 1, 4, 2, 3"""
    before, order = played(files), playlist_order(database)
    assert value(database, "SELECT count(*) FROM public.playlist_tracks") > len(before), (
        "the demo's rows hold reposts in one list"
    )
    apply(database, *VERSIONS)
    assert playlist_order(database) == order
    assert before == played(
        """
        SELECT e.playlist_id, t.user_id, t.file_url, e.position FROM public.playlist_tracks e
        JOIN public.tracks t ON t.id = e.track_id ORDER BY 1, 4, 2, 3"""
    )


def test_the_plans_checks_pass(database_at: DatabaseAt) -> None:
    for version in VERSIONS:
        assert failing_checks(database_at(version), version) == []
    assert failing_checks(database_at(FINALIZE)) == []


def test_reposts_without_any_library_track_pass_every_check(empty_database: Options) -> None:
    """The guide's tracks >= audio_posts is false here, on correct data."""
    from support.servers import load_demo

    load_demo(empty_database, rows=False)
    user = make_user(empty_database)
    with owner_session(empty_database) as connection:
        for _ in range(3):
            execute(
                connection,
                "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename) "
                "VALUES (%s, 'again', 'audio', %s, 'one.mp3')",
                (user, ONE),
            )
    apply(empty_database, *VERSIONS)
    assert rows(empty_database, "check_track_counts") == [(3, 1, 1, 3)]
    assert failing_checks(empty_database, *VERSIONS) == []
    # The one key that another role's schema hides from us is reported, not counted.
    assert failing_checks(empty_database) == []


def test_posts_whose_files_are_all_in_the_library_pass_every_check(empty_database: Options) -> None:
    """No track is created; the existing tracks are examined."""
    from support.servers import load_demo

    load_demo(empty_database, rows=False)
    user = make_user(empty_database)
    with owner_session(empty_database) as connection:
        execute(
            connection,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'one', %s)",
            (user, ONE),
        )
        execute(
            connection,
            "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename) "
            "VALUES (%s, 'mine', 'audio', %s, 'one.mp3')",
            (user, ONE),
        )
    apply(empty_database, *VERSIONS)
    assert rows(empty_database, "offenders_made_tracks_are_used") == []
    assert failing_checks(empty_database, *VERSIONS) == []
    assert failing_checks(empty_database) == []


@pytest.fixture
def lists(database_at: DatabaseAt) -> tuple[Options, str, dict[str, str]]:
    """After migration 1: a user with a file posted at 9, 10 and 11 o'clock, another file, and no playlist yet."""
    options = database_at(PREPARE)
    user = make_user(options)
    posts = {}
    with owner_session(options) as connection:
        execute(connection, "SET session_replication_role = replica")
        for name, file, hour in (("first", ONE, 9), ("second", ONE, 10), ("third", ONE, 11), ("other", TWO, 12)):
            values = post_values(user, file, at=f"2025-01-01 {hour}:00+00")
            posts[name] = values["id"]
            execute(
                connection,
                "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename, created_at) "
                "VALUES (%(id)s, %(user)s, %(content)s, 'audio', %(file)s, 'one.mp3', %(at)s)",
                values,
            )
    return options, user, posts


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ([("first", 0), ("other", 1), ("second", 2)], [("first", 0), ("other", 1)], [("second", 2)]),
        ([("second", 0), ("other", 1), ("first", 2)], [("first", 0), ("other", 1)], [("first", 2)]),
        ([("third", 4), ("second", 6)], [("first", 4)], [("second", 6)]),
        ([("third", 5)], [("first", 5)], []),
        ([("first", 1), ("second", 1), ("third", 0)], [("first", 0)], [("first", 1), ("second", 1)]),
    ],
)
def test_entries_of_one_file_become_the_entry_with_the_lower_position(
    lists: tuple[Options, str, dict[str, str]], before: list[Any], after: list[Any], lost: list[Any]
) -> None:
    options, user, posts = lists
    playlist = make_playlist(options, user)
    with owner_session(options) as connection:
        for name, position in before:
            add_entry(connection, playlist, posts[name], position)
    apply(options, MIGRATE, PLAYLISTS)
    assert entries(options, playlist) == [(posts[name], position) for name, position in after]
    kept = [row for row in archived(options, "entry_collapsed") if row["playlist_id"] == playlist]
    assert sorted((row["track_id"], row["position"]) for row in kept) == sorted((posts[name], at) for name, at in lost)
    assert value(options, "SELECT count(*) FROM tracks_posts_separation.archive WHERE run_id IS NOT NULL") == 0
    assert_sound_after_migration_3(options)


def test_an_entry_may_leave_the_id_that_another_one_takes(lists: tuple[Options, str, dict[str, str]]) -> None:
    """The first post has another file now: its entry moves away from its id, and the repost's entry moves there."""
    options, user, posts = lists
    apply(options, MIGRATE)
    playlist = make_playlist(options, user)
    with owner_session(options) as connection:
        add_entry(connection, playlist, posts["first"], 0)
        add_entry(connection, playlist, posts["second"], 1)
        execute(
            connection,
            "UPDATE public.posts SET audio_url = 'https://cdn.example.org/new.mp3' WHERE id = %s",
            (posts["first"],),
        )
    apply(options, PLAYLISTS)
    assert entries(options, playlist) == [(track_of(options, posts["first"]), 0), (posts["first"], 1)]
    played = [row[4:] for row in playlist_order(options) if row[1] == playlist]
    assert sorted(played) == sorted([(user, ONE), (user, "https://cdn.example.org/new.mp3")])
    assert_sound_after_migration_3(options)


def test_entries_at_text_posts_are_archived(lists: tuple[Options, str, dict[str, str]]) -> None:
    options, user, posts = lists
    apply(options, MIGRATE)
    playlist = make_playlist(options, user)
    with owner_session(options, {"runbook.run_id": "20250122-run"}) as connection:
        text, _ = insert_post(connection, user, None)
        add_entry(connection, playlist, text, 0)
        add_entry(connection, playlist, posts["other"], 1)
    apply(options, PLAYLISTS, settings={"runbook.run_id": "20250122-run"})
    assert entries(options, playlist) == [(posts["other"], 1)]
    assert [row["track_id"] for row in archived(options, "entry_without_track")] == [text]
    assert query(options, "SELECT DISTINCT run_id FROM tracks_posts_separation.archive") == [("20250122-run",)]


def test_no_query_of_the_backfill_compares_user_and_file_row_by_row(database_at: DatabaseAt) -> None:
    """find_exceptions joins by hash or merge whatever the statistics say: linear in the number of posts."""
    options = database_at(PREPARE)
    from plan_sql import apply_before_backfill

    apply_before_backfill(options)
    source = value(
        options, "SELECT prosrc FROM pg_proc WHERE oid = 'tracks_posts_separation.find_exceptions()'::regprocedure"
    )
    statement = source[source.index("WITH to_look_at") : source.index("GET DIAGNOSTICS")].rstrip().rstrip(";")
    settings = value(
        options, "SELECT proconfig FROM pg_proc WHERE oid = 'tracks_posts_separation.find_exceptions()'::regprocedure"
    )
    superuser = {**options, "user": "supabase_admin"}
    for pages, tuples in ((1, 1), (100000, 5000000)):  # statistics of a tiny and of a huge table
        query(
            superuser,
            (
                "UPDATE pg_class SET relpages = %s, reltuples = %s WHERE oid IN "
                "('public.posts'::regclass, 'public.tracks'::regclass)"
            ),
            (pages, tuples),
        )
        with owner_session(
            options, dict(setting.split("=") for setting in settings if "search_path" not in setting)
        ) as connection:
            execute(connection, "SET search_path = ''")
            plan = "\n".join(row[0] for row in execute(connection, "EXPLAIN " + statement))
        assert "Nested Loop" not in plan, plan
        assert "SubPlan" not in plan, plan
