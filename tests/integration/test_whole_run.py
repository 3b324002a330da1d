"""The whole guide on every supported server: migrated as it should be, and back to the row; by our own queries.

Nothing here asks the runbook's verifiers: what should be true is worked out from the rows before the migration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.catalogue import catalogue, schema_text
from support.fixtures import installed_server
from support.playbooks import Operator
from support.servers import Options, Server, load_demo, query, value

TABLES = ("posts", "tracks", "comments", "playlists", "playlist_tracks", "profiles")

#: Each post with what the guide says its track must be: a track of the same user and file that was there before, or
#: the earliest post of that user and file.
EXPECTED_TRACKS = """
    SELECT p.id::text, coalesce(
        (SELECT t.id FROM public.tracks t WHERE t.user_id = p.user_id AND t.file_url = p.audio_url
         ORDER BY t.created_at, t.id LIMIT 1),
        (SELECT o.id FROM public.posts o
         WHERE o.post_type = 'audio' AND o.user_id = p.user_id AND o.audio_url = p.audio_url
         ORDER BY o.created_at, o.id LIMIT 1)
    )::text
    FROM public.posts p WHERE p.post_type = 'audio' ORDER BY p.id
"""

#: What a listener hears: per playlist the files in order, a file of the same user once.
HEARD_BEFORE = """
    SELECT playlist_id::text, string_agg(heard, ' ' ORDER BY position, added_at, id) FROM (
        SELECT DISTINCT ON (e.playlist_id, p.user_id, p.audio_url)
            e.playlist_id, e.position, e.added_at, e.id, p.user_id || p.audio_url AS heard
        FROM public.playlist_tracks e JOIN public.posts p ON p.id = e.track_id
        ORDER BY e.playlist_id, p.user_id, p.audio_url, e.position, e.added_at, e.id
    ) AS once GROUP BY playlist_id ORDER BY 1
"""
HEARD_AFTER = """
    SELECT e.playlist_id::text, string_agg(t.user_id || t.file_url, ' ' ORDER BY e.position, e.added_at, e.id)
    FROM public.playlist_tracks e JOIN public.tracks t ON t.id = e.track_id GROUP BY e.playlist_id ORDER BY 1
"""


# Of 18 the modules are tested one by one as well (test_other_versions.py).
MAJORS = [15, 17, pytest.param(18, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=MAJORS, ids=lambda major: f"postgres{major}")
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with installed_server(request.param) as running:
        yield running


def rows_of(options: Options, table: str, *without: str) -> dict[str, Any]:
    """Every row as text by id, without the named columns."""
    dropped = "".join(f" - '{column}'" for column in without)
    return dict(query(options, f"SELECT id::text, (to_jsonb(r){dropped})::text FROM public.{table} r"))


def test_migrates_and_comes_back_to_the_row(any_server: Server, tmp_path: Path) -> None:
    options = any_server.create_database()
    load_demo(options, audio_posts=400)
    operator = Operator(tmp_path, options)
    before = {table: rows_of(options, table) for table in TABLES}
    expected_tracks = dict(query(options, EXPECTED_TRACKS))
    heard = query(options, HEARD_BEFORE)
    schema_before = schema_text(options, any_server.bin_directory)
    catalogue_before = catalogue(options)

    migrated = operator.type("migrate.yml")

    assert migrated.status == 0, migrated.screen
    assert operator.report()["state"] == "complete"
    assert rows_of(options, "posts", "track_id") == before["posts"], "posts changed outside track_id"
    assert dict(query(options, "SELECT id::text, track_id::text FROM public.posts WHERE post_type = 'audio'")) == (
        expected_tracks
    )
    assert len(set(expected_tracks.values())) < len(expected_tracks), "the rows hold no repost: nothing was shown"
    assert value(options, "SELECT count(*) FROM public.posts WHERE post_type = 'text' AND track_id IS NOT NULL") == 0
    assert query(options, HEARD_AFTER) == heard
    for table in ("comments", "playlists", "profiles"):
        assert rows_of(options, table) == before[table]
    wrong = query(
        options,
        "SELECT p.id FROM public.posts p JOIN public.tracks t ON t.id = p.track_id WHERE p.id = t.id AND NOT ("
        " t.user_id = p.user_id AND t.file_url = p.audio_url AND t.description = p.content"
        " AND t.created_at = p.created_at AND t.updated_at = p.updated_at AND t.is_public"
        " AND t.compression_ratio = 1.0 AND NOT t.compression_applied"
        " AND t.duration IS NOT DISTINCT FROM p.audio_duration AND t.file_size IS NOT DISTINCT FROM p.audio_file_size)",
    )
    assert wrong == []

    again = operator.type("migrate.yml")
    assert again.status == 0, again.screen
    assert "changed=0" in again.screen
    assert not (operator.runs()[-1] / "backup").exists(), "nothing was pending, and a backup was taken"
    assert all(check["rows_examined"] > 0 for check in operator.report()["checks"] if check["status"] == "passed"), (
        operator.report()["checks"]
    )

    back = operator.type("rollback.yml", "-e", "method=restore")
    assert back.status == 0, back.screen
    assert {table: rows_of(options, table) for table in TABLES} == before
    assert catalogue(options) == catalogue_before
    assert schema_text(options, any_server.bin_directory) == schema_before


def test_dirty_rows_are_refused_before_anything_is_written(any_server: Server, tmp_path: Path) -> None:
    options = any_server.create_database()
    load_demo(options, audio_posts=400, dirty=True)
    operator = Operator(tmp_path, options)
    catalogue_before = catalogue(options)
    rows_before = {table: rows_of(options, table) for table in TABLES}

    refused = operator.type("migrate.yml")

    assert refused.status == 2, refused.screen
    assert "Nothing was changed." in refused.text
    assert operator.report()["state"] == "refused"
    blocking = {finding["name"] for finding in operator.report()["findings"] if finding["severity"] == "blocking"}
    assert len(blocking) >= 5, blocking
    assert catalogue(options) == catalogue_before
    assert {table: rows_of(options, table) for table in TABLES} == rows_before
    assert value(options, "SELECT to_regnamespace('migration_runbook') IS NULL")


def test_a_rollback_without_a_method_or_with_an_unknown_one_changes_nothing(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    never = operator.type("rollback.yml", "-e", "method=restore")
    assert never.status == 2
    assert "(test_database) has no run, so there is nothing to work on. Nothing was changed." in never.text
    assert operator.type("migrate.yml", "-e", "stop_after=20250122000000").status == 0
    before = catalogue(database)

    unknown = operator.type("rollback.yml", "-e", "method=undo")
    said = operator.type("rollback.yml")

    assert unknown.status == 2
    assert 'unknown method "undo"; choose reverse, restore or forward_fix' in unknown.text
    assert said.status == 0, said.screen
    assert "Next: ansible-playbook rollback.yml -e method=reverse" in said.text
    assert catalogue(database) == before


def test_rows_under_ids_of_others_stop_no_run(database: Options, tmp_path: Path) -> None:
    """The tracks of such posts get other ids: the comparison at the end takes them for the plan's, not for uploads."""
    victims = query(
        database,
        "SELECT p.id::text,"
        " (SELECT o.user_id FROM public.posts o WHERE o.user_id <> p.user_id ORDER BY o.id LIMIT 1)::text"
        " FROM public.posts p WHERE p.post_type = 'audio' ORDER BY p.id LIMIT 3",
    )
    for post, user in victims:
        query(
            database,
            "INSERT INTO public.tracks (id, user_id, title, file_url) VALUES (%s, %s, 'taken', 'https://x.example/1')",
            (post, user),
        )

    migrated = Operator(tmp_path, database).type("migrate.yml")

    assert migrated.status == 0, migrated.screen
    assert value(database, "SELECT count(*) FROM tracks_posts_separation.track_under_other_id") == len(victims)
