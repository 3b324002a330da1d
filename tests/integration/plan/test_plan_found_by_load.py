"""What the load of bench/ found in the plan's SQL: each as its shortest sequence."""

from __future__ import annotations

import pytest
from application import add_entry, archived, entries, execute, failing_checks, insert_post, make_playlist, make_user
from plan_sql import VERSIONS, apply, apply_after_backfill, apply_before_backfill, owner_session
from support.servers import Options, application_session, query


def test_adding_a_post_where_its_repost_is_listed_writes_nothing(database: Options) -> None:
    # Two entries before the migration; afterwards both ids name one track, and the second addition meets the first.
    user = make_user(database)
    apply(database, VERSIONS[0])
    with application_session(database, user) as session:
        original, _ = insert_post(session, user, at="2024-01-01 00:00:00+00")
        repost, _ = insert_post(session, user, at="2024-01-02 00:00:00+00")
        playlist = make_playlist(database, user)
        add_entry(session, playlist, repost)
        apply(database, *VERSIONS[1:])

        assert add_entry(session, playlist, original, position=7) == []

    assert entries(database, playlist) == [(original, 0)]
    assert len(archived(database, "request_met_entry")) == 1


@pytest.mark.parametrize("file", ["https://cdn.example.org/known.mp3", "https://cdn.example.org/new.mp3"])
def test_a_post_that_gets_another_file_before_the_backfill_lets_go_of_the_track_of_its_repost(
    database: Options, file: str
) -> None:
    user = make_user(database)
    posts = [
        query(
            database,
            "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
            " VALUES (%s, 'x', 'audio', %s, 'x.mp3') RETURNING id::text",
            (user, url),
        )[0][0]
        for url in ("https://cdn.example.org/first.mp3", "https://cdn.example.org/known.mp3")
    ]
    apply(database, VERSIONS[0])
    with application_session(database, user) as session:
        repost, track = insert_post(session, user, "https://cdn.example.org/first.mp3")
        assert track == posts[0], "the repost made the track that the first post will have"
        execute(session, "DELETE FROM public.posts WHERE id = %s", (repost,))
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (file, posts[0]))
    apply(database, *VERSIONS[1:])

    assert failing_checks(database) == []


def test_a_post_that_comes_back_to_its_first_file_brings_its_track_up_to_date(database: Options) -> None:
    user = make_user(database)
    apply(database, *VERSIONS)
    with application_session(database, user) as session:
        original, track = insert_post(session, user, "https://cdn.example.org/first.mp3")
        insert_post(session, user, "https://cdn.example.org/first.mp3")
        for file, name in (("other", "other.mp3"), ("first", "renamed.mp3")):
            execute(
                session,
                "UPDATE public.posts SET audio_url = %s, audio_filename = %s, content = %s WHERE id = %s",
                (f"https://cdn.example.org/{file}.mp3", name, f"now {name}", original),
            )

    assert query(database, "SELECT track_id::text FROM public.posts WHERE id = %s", (original,)) == [(track,)]
    assert failing_checks(database) == []


def test_a_file_uploaded_to_the_library_during_the_fill_and_then_posted_again_has_one_track(database: Options) -> None:
    file = "https://cdn.example.org/twice.mp3"
    user = make_user(database)
    ((post,),) = query(
        database,
        "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
        " VALUES (%s, 'x', 'audio', %s, 'x.mp3') RETURNING id::text",
        (user, file),
    )
    apply(database, VERSIONS[0])
    apply_before_backfill(database)
    with application_session(database, user) as session:
        execute(session, "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s)", (user, file))
        _, track = insert_post(session, user, file)
    assert track == post, "the backfill will give the first post a track of its own: the second one shares it"
    with owner_session(database) as owner:
        execute(owner, "SELECT tracks_posts_separation.migrate_audio_posts(NULL, NULL)")
    apply_after_backfill(database)
    apply(database, *VERSIONS[2:])

    assert failing_checks(database) == []
    assert query(database, "SELECT 1 FROM tracks_posts_separation.setting WHERE name = 'exceptions_are_listed'") == []


def test_an_edited_track_stays_newer_than_its_post_though_an_edit_of_the_post_changes_nothing_but_its_time(
    database: Options,
) -> None:
    user = make_user(database)
    apply(database, *VERSIONS)
    with application_session(database, user) as session:
        post, track = insert_post(session, user)
        execute(session, "UPDATE public.tracks SET title = 'Mine', updated_at = now() WHERE id = %s", (track,))
        before = query(database, "SELECT updated_at FROM public.posts WHERE id = %s", (post,))
        for _ in range(2):
            execute(session, "UPDATE public.posts SET content = content WHERE id = %s", (post,))

    assert query(database, "SELECT updated_at FROM public.posts WHERE id = %s", (post,)) > before
    assert query(database, "SELECT title FROM public.tracks WHERE id = %s", (track,)) == [("Mine",)]
    assert failing_checks(database) == []


def test_a_track_that_nobody_edited_keeps_its_time_then(database: Options) -> None:
    user = make_user(database)
    apply(database, *VERSIONS)
    with application_session(database, user) as session:
        post, track = insert_post(session, user)
        before = query(database, "SELECT to_jsonb(t)::text FROM public.tracks AS t WHERE id = %s", (track,))
        execute(session, "UPDATE public.posts SET content = content WHERE id = %s", (post,))

    assert query(database, "SELECT to_jsonb(t)::text FROM public.tracks AS t WHERE id = %s", (track,)) == before
    assert failing_checks(database) == []
