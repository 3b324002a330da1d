"""Migration 3 between the swap of the key and its last batch: entries of reposts name their post, and are moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from application import (
    WRITERS,
    Connection,
    add_entry,
    archived,
    assert_sound_after_migration_3,
    entries,
    execute,
    in_background,
    insert_post,
    make_playlist,
    make_user,
    wait_until_blocked,
    writer_session,
)
from plan_sql import MIGRATE, PLAYLISTS, apply, owner_session, revert, run_step, steps_of
from support.servers import Options, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"
BATCH = "SELECT rows_moved FROM tracks_posts_separation.move_listed_entries({}, {})"
EVERY_ENTRY = "SELECT id, playlist_id, track_id, position, added_at FROM public.playlist_tracks ORDER BY id"
LISTED = "SELECT place_and_entry FROM tracks_posts_separation.entry_of_repost ORDER BY 1"
NOT_MOVED = "SELECT count(*) FROM tracks_posts_separation.entries_of_reposts(false)"


@dataclass
class Lists:
    """A user's post with two reposts, one playlist with the first of these at 7; the key is swapped, nothing moved."""

    options: Options
    user: str
    post: str
    repost: str
    other_repost: str
    playlist: str

    def finish(self) -> None:
        with owner_session(self.options) as connection:
            for step in rest_of_playlists():
                run_step(connection, step)
        assert_sound_after_migration_3(self.options)

    def lost(self, reason: str) -> list[tuple[str, int]]:
        found = archived(self.options, reason)
        return [(row["track_id"], row["position"]) for row in found if row["playlist_id"] == self.playlist]


def rest_of_playlists() -> list[Any]:
    """The steps from the batches on."""
    steps = steps_of(PLAYLISTS)
    (first,) = [number for number, step in enumerate(steps) if step.kind == "backfill"]
    return steps[first:]


def up_to_the_batches(options: Options) -> None:
    with owner_session(options) as connection:
        for step in steps_of(PLAYLISTS)[: -len(rest_of_playlists())]:
            run_step(connection, step)


def batch(connection: Connection, after: str = "NULL", upto: str = "NULL") -> None:
    execute(connection, BATCH.format(after, upto))


@pytest.fixture
def lists(database_at: DatabaseAt) -> Lists:
    options = database_at(MIGRATE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with owner_session(options) as connection:
        post, repost, other_repost = (insert_post(connection, user, ONE)[0] for _ in range(3))
        add_entry(connection, playlist, repost, 7)
    up_to_the_batches(options)
    return Lists(options, user, post, repost, other_repost, playlist)


@pytest.fixture(params=WRITERS)
def session(request: pytest.FixtureRequest, lists: Lists) -> Iterator[Connection]:
    with writer_session(lists.options, lists.user, str(request.param)) as connection:
        yield connection


# ------------------------------------------------------------------ one after the other


def test_the_swap_moves_only_what_could_not_be_told_apart_later(database_at: DatabaseAt) -> None:
    """A post with another file, whose id is the track of its repost: by its entry's id alone, both are meant."""
    options = database_at(MIGRATE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with owner_session(options) as connection:
        post, _ = insert_post(connection, user, ONE)
        repost, _ = insert_post(connection, user, ONE)
        add_entry(connection, playlist, post, 1)
        add_entry(connection, playlist, repost, 2)
        execute(connection, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, post))
    before = value(
        options,
        "SELECT count(*) FROM public.playlist_tracks AS e JOIN public.posts AS p ON p.id = e.track_id "
        "WHERE p.track_id <> p.id",
    )
    up_to_the_batches(options)
    new_track = value(options, "SELECT track_id FROM public.posts WHERE id = %s", (post,))
    assert new_track not in (post, repost)
    assert entries(options, playlist) == [(new_track, 1), (repost, 2)]
    assert before > 2
    assert value(options, NOT_MOVED) == before - 1
    with owner_session(options) as connection:
        for step in rest_of_playlists():
            run_step(connection, step)
    assert entries(options, playlist) == [(new_track, 1), (post, 2)]
    assert value(options, NOT_MOVED) == 0
    assert value(options, "SELECT count(*) FROM tracks_posts_separation.entry_of_repost") == 0
    assert_sound_after_migration_3(options)


def test_until_it_is_moved_the_old_application_finds_its_entry(lists: Lists, session: Connection) -> None:
    found = execute(
        session,
        "SELECT (public.posts(e)).id FROM public.playlist_tracks AS e WHERE e.playlist_id = %s",
        (lists.playlist,),
    )
    assert found == [(lists.repost,)]
    moved = "UPDATE public.playlist_tracks SET position = 8 WHERE playlist_id = %s AND track_id = %s RETURNING position"
    assert execute(session, moved, (lists.playlist, lists.repost)) == [(8,)]
    removed = "DELETE FROM public.playlist_tracks WHERE playlist_id = %s AND track_id = %s RETURNING position"
    assert execute(session, removed, (lists.playlist, lists.repost)) == [(8,)]
    lists.finish()
    assert entries(lists.options, lists.playlist) == []


def test_the_function_that_joins_posts_takes_the_tracks_post_after_the_move(lists: Lists) -> None:
    lists.finish()
    text = "SELECT (public.posts(e)).id FROM public.playlist_tracks AS e WHERE e.playlist_id = %s"
    assert query(lists.options, text, (lists.playlist,)) == [(lists.post,)]


@pytest.mark.parametrize("sent", ["post", "repost"])
@pytest.mark.parametrize("position", [3, 9])
def test_the_track_is_added_meanwhile(lists: Lists, session: Connection, sent: str, position: int) -> None:
    """The lower position stays, whichever of the two was first."""
    added = lists.post if sent == "post" else lists.other_repost
    add_entry(session, lists.playlist, added, position)
    lists.finish()
    assert entries(lists.options, lists.playlist) == [(lists.post, min(position, 7))]
    assert lists.lost("entry_collapsed") == [(lists.repost, 7) if position == 3 else (added, 9)]


def test_the_repost_is_deleted_meanwhile(lists: Lists, session: Connection) -> None:
    """As before the migration its entry goes with it; it is kept in the archive."""
    execute(session, "DELETE FROM public.posts WHERE id = %s", (lists.repost,))
    lists.finish()
    assert entries(lists.options, lists.playlist) == []
    assert lists.lost("entry_without_track") == [(lists.repost, 7)]


def test_every_post_of_the_track_is_deleted_meanwhile(lists: Lists, session: Connection) -> None:
    execute(session, "DELETE FROM public.posts WHERE user_id = %s", (lists.user,))
    lists.finish()
    assert value(lists.options, "SELECT count(*) FROM public.tracks WHERE user_id = %s", (lists.user,)) == 0
    assert lists.lost("entry_without_track") == [(lists.repost, 7)]


def test_the_repost_gets_another_file_meanwhile(lists: Lists, session: Connection) -> None:
    """An entry follows its post until it names a track."""
    execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, lists.repost))
    lists.finish()
    text = "SELECT t.file_url FROM public.playlist_tracks AS e JOIN public.tracks AS t ON t.id = e.track_id"
    assert query(lists.options, f"{text} WHERE e.playlist_id = %s", (lists.playlist,)) == [(TWO,)]


def test_a_text_post_becomes_a_repost_after_the_list_was_made(lists: Lists, session: Connection) -> None:
    text, _ = insert_post(session, lists.user, None)
    with owner_session(lists.options) as connection:
        # As it was listed before the key was swapped.
        execute(connection, "SET session_replication_role = replica")
        add_entry(connection, lists.playlist, text, 2)
    become = "UPDATE public.posts SET post_type = 'audio', audio_url = %s, audio_filename = 'one.mp3' WHERE id = %s"
    execute(session, become, (ONE, text))
    lists.finish()
    assert entries(lists.options, lists.playlist) == [(lists.post, 2)]
    assert lists.lost("entry_collapsed") == [(lists.repost, 7)]


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_revert_before_the_last_batch_gives_every_entry_back(database_at: DatabaseAt, batches: int) -> None:
    options = database_at(MIGRATE)
    before = query(options, EVERY_ENTRY)
    up_to_the_batches(options)
    listed = [row[0] for row in query(options, LISTED)]
    assert len(listed) > 2
    half = f"'{listed[len(listed) // 2]}'"
    with owner_session(options) as connection:
        for after, upto in [("NULL", half), (half, "NULL")][:batches]:
            batch(connection, after, upto)
    assert (value(options, NOT_MOVED) == 0) is (batches == 2)
    revert(options, PLAYLISTS)
    assert query(options, EVERY_ENTRY) == before
    apply(options, PLAYLISTS)
    assert_sound_after_migration_3(options)


def test_a_batch_that_is_made_again_moves_nothing(lists: Lists) -> None:
    with owner_session(lists.options) as connection:
        batch(connection)
        before = query(lists.options, EVERY_ENTRY), archived(lists.options, "entry_repointed")
        assert execute(connection, BATCH.format("NULL", "NULL")) == [(0,)]
    assert (query(lists.options, EVERY_ENTRY), archived(lists.options, "entry_repointed")) == before


# ------------------------------------------------------------------ two sessions at a time


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_batch_waits_for_who_adds_the_track(lists: Lists, session: Connection, ending: str) -> None:
    execute(session, "BEGIN")
    add_entry(session, lists.playlist, lists.post, 3)
    with owner_session(lists.options) as runner:
        call = in_background(runner, BATCH.format("NULL", "NULL"))
        assert wait_until_blocked(lists.options, runner, call) == [session.info.backend_pid]
        execute(session, ending)
        call.finish()
    lists.finish()
    assert entries(lists.options, lists.playlist) == [(lists.post, 3 if ending == "COMMIT" else 7)]
    assert lists.lost("entry_collapsed") == ([(lists.repost, 7)] if ending == "COMMIT" else [])


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_who_adds_the_track_waits_for_a_batch(lists: Lists, session: Connection, ending: str) -> None:
    insert = "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) VALUES (%s, %s, 9)"
    with owner_session(lists.options) as runner:
        execute(runner, "BEGIN")
        batch(runner)
        call = in_background(session, insert, (lists.playlist, lists.other_repost))
        assert wait_until_blocked(lists.options, session, call) == [runner.info.backend_pid]
        execute(runner, ending)
        call.finish()
    lists.finish()
    assert entries(lists.options, lists.playlist) == [(lists.post, 7)]
    reason = "request_met_entry" if ending == "COMMIT" else "entry_collapsed"
    assert lists.lost(reason) == [(lists.other_repost, 9)]


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_the_track_goes_while_a_batch_wants_it(lists: Lists, session: Connection, ending: str) -> None:
    execute(session, "BEGIN")
    execute(session, "DELETE FROM public.posts WHERE user_id = %s", (lists.user,))
    with owner_session(lists.options) as runner:
        call = in_background(runner, BATCH.format("NULL", "NULL"))
        assert wait_until_blocked(lists.options, runner, call) == [session.info.backend_pid]
        execute(session, ending)
        call.finish()
    lists.finish()
    assert entries(lists.options, lists.playlist) == ([] if ending == "COMMIT" else [(lists.post, 7)])
    assert lists.lost("entry_without_track") == ([(lists.repost, 7)] if ending == "COMMIT" else [])


def test_two_batches_meet_in_one_playlist(database_at: DatabaseAt) -> None:
    """Two workers: the second waits, and sees what the first has moved."""
    options = database_at(MIGRATE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with owner_session(options) as connection:
        posts = [insert_post(connection, user, ONE)[0] for _ in range(3)]
        ids = [add_entry(connection, playlist, post, at)[0][0] for post, at in ((posts[1], 5), (posts[2], 4))]
    up_to_the_batches(options)
    # The two want the same lock, and stand side by side.
    low, high = (f"'{key}'" for (key,) in query(options, LISTED) if key[5:] in ids)
    with owner_session(options) as one, owner_session(options) as two:
        execute(one, "BEGIN")
        batch(one, "NULL", low)
        call = in_background(two, BATCH.format(low, high))
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        call.finish()
    assert entries(options, playlist) == [(posts[0], 4)]
    lost = [row["track_id"] for row in archived(options, "entry_collapsed") if row["playlist_id"] == playlist]
    assert lost == [posts[1]]
    with owner_session(options) as connection:
        for step in rest_of_playlists():
            run_step(connection, step)
    assert_sound_after_migration_3(options)
