"""What the load counts apart from failures, and only that."""

from __future__ import annotations

from typing import Any

import pytest
from application import add_entry, insert_post, make_playlist, make_user
from bursts import LoadOn
from plan_sql import VERSIONS, apply
from support.servers import Options, application_session, query, value

from bench.traffic import entries


def test_trap_25_is_met_once_and_counted_apart(database: Options, load_on: LoadOn) -> None:
    application = load_on(database)
    user, post = application.world.all_users[0], application.world.all_posts[0]

    def read() -> Any:
        return application.request("post_by_id", user, {"post": post}, writes=False)

    before = read()
    query(database, "ALTER TABLE public.posts ADD COLUMN mood text")
    after, again = read(), read()

    assert application.record.expected["trap_25"] == 1
    assert not application.record.errors
    assert len(before[0]) + 1 == len(after[0]) == len(again[0])


@pytest.fixture
def repost_in_playlist(database: Options) -> tuple[Options, str, str, str]:
    """Migrated: a playlist whose one entry was made by the id of a repost. Options, user, playlist, repost."""
    user = make_user(database)
    apply(database, VERSIONS[0])
    with application_session(database, user) as session:
        insert_post(session, user, at="2024-01-01 00:00:00+00")
        repost, _ = insert_post(session, user, at="2024-01-02 00:00:00+00")
        playlist = make_playlist(database, user)
        add_entry(session, playlist, repost)
    apply(database, *VERSIONS[1:])
    query(database, "INSERT INTO supabase_migrations.schema_migrations (version) SELECT unnest(%s)", (list(VERSIONS),))
    return database, user, playlist, repost


@pytest.mark.parametrize("write", [entries.playlist_remove, entries.playlist_reorder], ids=["remove", "reorder"])
def test_trap_29_is_recognised(repost_in_playlist: tuple[Options, str, str, str], load_on: LoadOn, write: Any) -> None:
    options, user, playlist, repost = repost_in_playlist
    application = load_on(options)
    group = application.world.group_of(user)
    group.playlists, group.entries = {playlist: user}, {playlist: [repost]}

    assert write(application, group)

    assert application.record.expected["repost_by_id_found_nothing"] == 1
    assert not application.record.errors


def test_an_entry_that_vanished_is_no_trap_29(
    repost_in_playlist: tuple[Options, str, str, str], load_on: LoadOn
) -> None:
    options, user, playlist, _ = repost_in_playlist
    application = load_on(options)
    group = application.world.group_of(user)
    known = value(options, "SELECT track_id::text FROM public.playlist_tracks WHERE playlist_id = %s", (playlist,))
    query(options, "DELETE FROM public.playlist_tracks WHERE playlist_id = %s", (playlist,))
    group.playlists, group.entries = {playlist: user}, {playlist: [known]}

    entries.playlist_remove(application, group)

    assert dict(application.record.errors) == {"wrong result playlist_remove": 1}
    assert not application.record.expected["repost_by_id_found_nothing"]


def test_an_entry_of_a_deleted_post_is_gone_meanwhile(database: Options, load_on: LoadOn) -> None:
    application = load_on(database)
    group = next(group for group in application.world.groups if any(group.entries.values()))
    playlist = next(playlist for playlist, held in group.entries.items() if held)
    post = group.entries[playlist][0]
    query(database, "DELETE FROM public.posts WHERE id = %s", (post,))
    group.playlists, group.entries = {playlist: group.playlists[playlist]}, {playlist: [post]}

    entries.playlist_remove(application, group)

    assert application.record.expected["gone_meanwhile"] == 1
    assert not application.record.errors
