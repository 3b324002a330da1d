"""Any user can insert a row under any id: it neither takes rows of others along nor stops a run for everybody."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from application import (
    MIGRATE_ALL,
    add_entry,
    archived,
    assert_sound_after_migration_3,
    entries,
    execute,
    failing_checks,
    in_background,
    insert_post,
    make_playlist,
    make_user,
    track,
    track_of,
    wait_until_blocked,
)
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    VERSIONS,
    apply,
    apply_after_backfill,
    apply_before_backfill,
    owner_session,
    plan,
    playlist_order,
    revert,
    run_step,
    steps_of,
)
from support.modules import run_module
from support.servers import Options, application_session, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"
UPLOAD = (
    "INSERT INTO public.tracks (id, user_id, title, file_url, genre, is_public)"
    " VALUES (%s, %s, 'mine', %s, 'jazz', %s) RETURNING id::text"
)
TEXT = "INSERT INTO public.posts (id, user_id, content, post_type) VALUES (%s, %s, 'text', 'text')"


def upload(session: Any, user: str, file: str = TWO, *, under: str | None = None, is_public: bool = True) -> str:
    return str(execute(session, UPLOAD, (under or str(uuid.uuid4()), user, file, is_public))[0][0])


def unmet(options: Options, *versions: str) -> list[str]:
    return failing_checks(options, *versions)


def repair(options: Options, issue: str, **more: Any) -> dict[str, Any]:
    result = run_module("pg_repair", connection=dict(options), plan=plan(), issue=issue, apply=True, **more)
    assert not result["failed"], result["msg"]
    return dict(result)


# ------------------------------------------------------------------ another user's post under the id of a track


@pytest.mark.parametrize("kind", ["text", "audio", "text that became audio", "audio that was deleted"])
def test_an_upload_stays_its_uploaders_whatever_post_has_its_id(database_at: DatabaseAt, kind: str) -> None:
    options = database_at(FINALIZE)
    a, b, c = (make_user(options) for _ in range(3))
    playlist = make_playlist(options, c)
    with application_session(options, b) as session:
        song = upload(session, b)
        (post, _) = insert_post(session, b, None, type="text")
        execute(session, "UPDATE public.posts SET post_type = 'audio', track_id = %s WHERE id = %s", (song, post))
    with application_session(options, a) as session:
        if kind.startswith("audio"):
            insert_post(session, a, ONE, id=song)
        else:
            execute(session, TEXT, (song, a))
        if kind == "text that became audio":
            execute(
                session,
                "UPDATE public.posts SET post_type = 'audio', audio_url = %s, audio_filename = 'x' WHERE id = %s",
                (ONE, song),
            )
        if kind == "audio that was deleted":
            execute(session, "DELETE FROM public.posts WHERE id = %s", (song,))
    with application_session(options, c) as session:
        # The track was there first: it is what its id means.
        assert [row[1] for row in add_entry(session, playlist, song)] == [song]
    before = track(options, song)
    with application_session(options, b) as session:
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert track(options, song) == before
    assert entries(options, playlist) == [(song, 0)]
    assert unmet(options) == unmet(options, MIGRATE) == []
    revert(options, *VERSIONS)
    after = track(options, song)
    assert after is not None
    assert {**before, **after} == before
    # The entry of a track without a post waits in the archive: it is no entry of a post of somebody else.
    assert entries(options, playlist) == []
    apply(options, *VERSIONS)
    assert track(options, song) == before
    assert entries(options, playlist) == [(song, 0)]
    assert unmet(options) == []


def test_an_entry_of_an_upload_goes_back_to_the_post_that_uses_it(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    a, b = make_user(options), make_user(options)
    playlist = make_playlist(options, b)
    with application_session(options, b) as session:
        song = upload(session, b)
        (post, _) = insert_post(session, b, None, type="text")
        execute(session, "UPDATE public.posts SET post_type = 'audio', track_id = %s WHERE id = %s", (song, post))
        add_entry(session, playlist, song)
    with application_session(options, a) as session:
        execute(session, TEXT, (song, a))
    revert(options, *VERSIONS)
    assert entries(options, playlist) == [(post, 0)]


def test_a_deleted_post_keeps_its_owner(database_at: DatabaseAt) -> None:
    """Its track stays with a repost; somebody else takes the id, and gives it up."""
    options = database_at(FINALIZE)
    a, b = make_user(options), make_user(options)
    with application_session(options, b) as session:
        first, made = insert_post(session, b, ONE)
        repost, shared = insert_post(session, b, ONE)
        assert made == shared == first
        execute(session, "DELETE FROM public.posts WHERE id = %s", (first,))
    with application_session(options, a) as session:
        insert_post(session, a, TWO, id=first)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (first,))
    assert unmet(options, MIGRATE) == []
    with application_session(options, b) as session:
        execute(session, "DELETE FROM public.posts WHERE id = %s", (repost,))
    assert track(options, first) is None
    assert [row["id"] for row in archived(options, "track_without_post")][-1] == first


# ------------------------------------------------------------------ another user's track under the id of a post


def test_an_entry_means_the_post_that_was_there_first(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    a, b, c = (make_user(options) for _ in range(3))
    playlist = make_playlist(options, c)
    with application_session(options, b) as session:
        first, _ = insert_post(session, b, ONE)
        repost, _ = insert_post(session, b, ONE)
    with application_session(options, a) as session:
        upload(session, a, under=repost)
    with application_session(options, c) as session:
        assert [row[1] for row in add_entry(session, playlist, repost)] == [first]
    assert_sound_after_migration_3(options)
    revert(options, *VERSIONS)
    assert entries(options, playlist) == [(repost, 0)]


def test_a_track_that_comes_between_the_swap_and_the_batches_takes_no_entry(database_at: DatabaseAt) -> None:
    options = database_at(MIGRATE)
    a, b = make_user(options), make_user(options)
    playlist = make_playlist(options, b)
    with application_session(options, b) as session:
        first, _ = insert_post(session, b, ONE)
        repost, _ = insert_post(session, b, ONE)
        add_entry(session, playlist, repost)
    with owner_session(options) as owner, application_session(options, a) as session:
        for step in steps_of(PLAYLISTS):
            run_step(owner, step)
            if step.name.startswith("swap"):
                upload(session, a, under=repost)
    assert entries(options, playlist) == [(first, 0)]
    assert_sound_after_migration_3(options)


@pytest.mark.parametrize("owner", ["another user", "the post's user"])
@pytest.mark.parametrize("when", ["before", "during the fill", "after"])
def test_tracks_under_ids_of_posts_stop_nobody(database: Options, when: str, owner: str) -> None:
    b = make_user(database)
    a = b if owner == "the post's user" else make_user(database)
    with owner_session(database) as session:
        ((post,), (repost,)) = (
            execute(
                session,
                "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
                " VALUES (%s, 'x', 'audio', %s, 'x.mp3') RETURNING id::text",
                (b, ONE),
            )[0]
            for _ in range(2)
        )
        text = str(uuid.uuid4())
        execute(session, TEXT, (text, b))
        playlist = make_playlist(database, b)
        for place, one in enumerate((post, repost)):
            add_entry(session, playlist, one, place)
    ids = [post, repost, text] if when != "after" else [repost, text]

    def squat() -> None:
        with application_session(database, a) as session:
            for number, one in enumerate(ids):
                upload(session, a, f"{TWO}?{number}", under=one)

    if when == "before":
        squat()
    order = playlist_order(database)
    apply(database, PREPARE)
    if when == "during the fill":
        apply_before_backfill(database)
        squat()
        with owner_session(database) as session:
            execute(session, MIGRATE_ALL)
        apply_after_backfill(database)
    else:
        apply(database, MIGRATE)
    if when == "after":
        squat()
    assert unmet(database, MIGRATE) == []
    apply(database, *VERSIONS[2:])
    assert unmet(database) == []
    assert playlist_order(database) == order
    assert track_of(database, post) == track_of(database, repost)
    assert str(track(database, track_of(database, post))["file_url"]) == ONE
    squatted = [track(database, one) for one in ids]
    revert(database, *VERSIONS)
    assert [{**before, **(track(database, one) or {})} for one, before in zip(ids, squatted, strict=True)] == squatted
    assert all(track(database, one) for one in ids)
    apply(database, *VERSIONS)
    assert unmet(database) == unmet(database, MIGRATE) == []
    assert [track(database, one) for one in ids] == squatted


@pytest.mark.parametrize("again", [False, True])
def test_what_a_track_was_given_comes_back_where_its_id_was_taken_meanwhile(
    database_at: DatabaseAt, again: bool
) -> None:
    """Between a reverse and the next run another user takes the id: title and counts come back under a new one."""
    options = database_at(FINALIZE)
    a, b = make_user(options), make_user(options)
    with application_session(options, b) as session:
        post, made = insert_post(session, b, ONE)
        execute(
            session, "UPDATE public.tracks SET title = 'edited', genre = 'jazz', play_count = 77 WHERE id = %s", (made,)
        )
    edited = track(options, made)
    for _ in range(2 if again else 1):
        taken = track_of(options, post)
        revert(options, *VERSIONS)
        with application_session(options, a) as session:
            upload(session, a, TWO, under=taken)
        apply(options, *VERSIONS)
        now = track_of(options, post)
        assert now != taken
        assert {**track(options, now), "id": made} == edited
        assert value(options, "SELECT user_id::text FROM public.tracks WHERE id = %s", (taken,)) == a
        assert unmet(options) == []


@pytest.mark.parametrize(
    "columns", ["title = 'new'", "file_url = 'https://x.example/y'", "updated_at = '-infinity', title = 'new'"]
)
def test_an_edit_without_a_later_time_stops_no_check(database_at: DatabaseAt, columns: str) -> None:
    """tracks has no trigger that sets updated_at, so an application or anybody may leave it as it was."""
    options = database_at(FINALIZE)
    user = make_user(options)
    with application_session(options, user) as session:
        _, made = insert_post(session, user, ONE)
        execute(session, f"UPDATE public.tracks SET {columns} WHERE id = %s", (made,))
    assert unmet(options) == unmet(options, MIGRATE) == []
    revert(options, *VERSIONS)
    apply(options, *VERSIONS)
    assert unmet(options) == unmet(options, MIGRATE) == []


def test_who_inserts_under_the_ids_of_others_is_found_and_repaired(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    a, b = make_user(options), make_user(options)
    playlist = make_playlist(options, b)
    with application_session(options, b) as session:
        first, _ = insert_post(session, b, ONE)
        repost, _ = insert_post(session, b, ONE)
    with application_session(options, a) as session:
        upload(session, a, under=repost)
        own, _ = insert_post(session, a, None, type="text")
        execute(session, "UPDATE public.posts SET post_type = 'audio', track_id = %s WHERE id = %s", (repost, own))
    result = repair(options, "track_id_clash", remedy="new_id")
    assert (result["rows_found"], result["rows_changed"], result["rows_left"]) == (1, 1, 0)
    assert track(options, repost) is None
    assert str(track(options, track_of(options, own))["file_url"]) == TWO
    with application_session(options, b) as session:
        assert [row[1] for row in add_entry(session, playlist, repost)] == [first]
    assert unmet(options) == []


def test_a_second_run_is_open_to_everybody_after_the_repairs_that_its_findings_name(database_at: DatabaseAt) -> None:
    """Rows that block migration 1: of the post's own user, and entries that reference text posts."""
    options = database_at(FINALIZE)
    b = make_user(options)
    playlist = make_playlist(options, b)
    revert(options, *VERSIONS)
    text = str(uuid.uuid4())
    with application_session(options, b) as session:
        execute(session, TEXT, (text, b))
        upload(session, b, under=text)
        add_entry(session, playlist, text)
    named = {entry["name"]: entry["repair"] for entry in plan()["requirements"]["preconditions"]}
    assert "issue=track_id_clash -e apply=true -e remedy=new_id" in named["track_with_id_of_a_post"]
    assert "issue=playlist_references -e apply=true" in named["playlist_entry_of_text_post"]
    assert repair(options, "track_id_clash", remedy="new_id")["rows_left"] == 0
    assert repair(options, "playlist_references")["rows_left"] == 0
    apply(options, *VERSIONS)
    assert unmet(options) == []


# ------------------------------------------------------------------ locks


def test_no_lock_that_a_user_can_take_keeps_others_from_posting(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    a, b = make_user(options), make_user(options)
    playlist = make_playlist(options, b)
    with application_session(options, a) as idle:
        # Every key of the classes that earlier versions used, and every lock that another session of the plan holds.
        for number in (20250122, 20250123):
            execute(idle, "SELECT pg_advisory_lock(%s, n) FROM generate_series(0, 1023) AS n", (number,))
        with application_session(options, b) as session:
            execute(session, "SET lock_timeout = '2s'")
            execute(session, "BEGIN")
            post, given = insert_post(session, b, ONE)
            add_entry(session, playlist, post)
            held = execute(
                session, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
            )
            execute(session, "COMMIT")
    assert given == post
    assert held == [(0,)]
    with application_session(options, a) as session, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(session, "SELECT FROM tracks_posts_separation.lock_slot FOR UPDATE")


def test_two_sessions_with_one_file_wait_for_each_other(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    b = make_user(options)
    with application_session(options, b) as one, application_session(options, b) as two:
        execute(one, "BEGIN")
        first, _ = insert_post(one, b, ONE)
        waiting = in_background(
            two,
            "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
            " VALUES (%s, 'x', 'audio', %s, 'x') RETURNING track_id",
            (b, ONE),
        )
        assert wait_until_blocked(options, two, waiting) == [one.info.backend_pid]
        execute(one, "COMMIT")
        assert waiting.finish() == [(first,)]


def test_missing_lock_rows_are_named_with_what_brings_them_back(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    query(options, "DELETE FROM tracks_posts_separation.lock_slot")
    b = make_user(options)
    with owner_session(options) as session:
        with pytest.raises(psycopg2.errors.RaiseException, match="lock_slot") as refused:
            insert_post(session, b, ONE)
        execute(session, refused.value.diag.message_hint)
        assert insert_post(session, b, ONE)[1]


# ------------------------------------------------------------------ what an error shows


def test_the_trigger_tells_nothing_that_row_level_security_would_not(database_at: DatabaseAt) -> None:
    """Whose is a private track? A asks by posts in the name of others, and in his own."""
    options = database_at(FINALIZE)
    a, b, c = (make_user(options) for _ in range(3))
    with application_session(options, b) as session:
        song = upload(session, b, is_public=False)

    def answer(statement: str, parameters: Any) -> tuple[Any, ...]:
        with application_session(options, a) as session:
            try:
                return ("done", execute(session, statement, parameters))
            except psycopg2.Error as error:
                told = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
                return (error.pgcode, *(str(one).replace(str(parameters[-1]), "the track") for one in told))

    insert = "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%s, 'x', 'audio', %s)"
    nothing = str(uuid.uuid4())
    in_the_name_of = {user: answer(insert, (user, song)) for user in (b, c)}
    assert in_the_name_of[b] == in_the_name_of[c] == answer(insert, (b, nothing)) == answer(insert, (c, nothing))
    assert in_the_name_of[b][0] == "42501"
    own = answer(insert, (a, song))
    assert own[0] == "23503"
    assert own == answer(insert, (a, nothing))
    with application_session(options, a) as session:
        mine, _ = insert_post(session, a, ONE)
    update = "UPDATE public.posts SET track_id = %s WHERE id = " + f"'{mine}'"
    assert answer(update, (song,)) == answer(update, (nothing,))
    give_away = "UPDATE public.posts SET user_id = %s, track_id = %s WHERE id = " + f"'{mine}'"
    assert answer(give_away, (b, song)) == answer(give_away, (c, song)) == answer(give_away, (b, nothing))
    assert value(options, "SELECT count(*) FROM public.tracks WHERE id = %s", (nothing,)) == 0
