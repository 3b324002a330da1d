"""The old application after migration 1, as a signed-in user under row-level security: what it writes stays right."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from application import (
    add_entry,
    archived,
    assert_sound_after_migration_3,
    entries,
    execute,
    insert_post,
    make_playlist,
    make_user,
    post_values,
    track,
    track_of,
    tracks_of_user,
    writer_session,
)
from plan_sql import FINALIZE, MIGRATE, PLAYLISTS, PREPARE, VERSIONS, apply, owner_session
from support.servers import Options, application_session, load_demo, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"


@pytest.fixture(params=[PREPARE, MIGRATE, PLAYLISTS, FINALIZE], ids=["after 1", "after 2", "after 3", "after 4"])
def options(request: pytest.FixtureRequest, database_at: DatabaseAt) -> Options:
    return database_at(request.param)


@pytest.fixture
def done(database_at: DatabaseAt) -> Options:
    return database_at(FINALIZE)


def test_a_new_audio_post_gets_a_track_under_its_own_id(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, given = insert_post(session, user, ONE, name="  My song.mp3 ", content="hear hear")
    assert given == post
    made = track(options, post)
    assert made is not None
    assert (made["user_id"], made["title"], made["description"], made["file_url"]) == (
        user,
        "My song.mp3",
        "hear hear",
        ONE,
    )
    assert (made["compression_ratio"], made["compression_applied"], made["is_public"]) == (1.0, False, True)
    assert made["created_at"] == "2025-01-01T00:00:00+00:00" == made["updated_at"]


@pytest.mark.parametrize(
    ("text", "blank"),
    [(text, True) for text in (None, "", " ", "\t", " \r\n")]
    + [(text, False) for text in ("\x01", " x", "!", "x ", "é")],
)
def test_what_is_blank(done: Options, text: str | None, blank: bool) -> None:
    assert value(done, "SELECT tracks_posts_separation.is_blank(%s)", (text,)) is blank


def test_a_file_name_that_is_blank_gives_a_title_made_from_the_date(done: Options) -> None:
    user = make_user(done)
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE, name=" \t ", at="2025-03-04 23:30:00-05")
    assert track(done, post)["title"] == "Audio from 2025-03-05"  # type: ignore[index]


def test_sizes_and_names_that_a_track_cannot_hold_do_not_stop_a_post(done: Options) -> None:
    user = make_user(done)
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE, name="x" * 300)
        execute(session, "UPDATE public.posts SET audio_file_size = 0, audio_duration = -1 WHERE id = %s", (post,))
    made = track(done, post)
    assert made is not None
    assert (len(made["title"]), made["file_size"], made["duration"]) == (255, None, None)


def test_a_text_post_gets_no_track(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        assert insert_post(session, user, None)[1] is None


def test_a_repost_shares_the_track_and_another_user_does_not(options: Options) -> None:
    user, other = make_user(options), make_user(options)
    with application_session(options, user) as session:
        first, _ = insert_post(session, user, ONE)
        _, second_track = insert_post(session, user, ONE)
    with application_session(options, other) as session:
        third, third_track = insert_post(session, other, ONE)
    assert (second_track, third_track) == (first, third)


def test_a_track_that_exists_already_wins(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, ONE),
        )
        _, given = insert_post(session, user, ONE)
        execute(session, "UPDATE public.posts SET content = 'other words' WHERE track_id = %s", (upload,))
    assert given == upload
    assert track(options, upload)["title"] == "mine"  # type: ignore[index]
    assert track(options, upload)["description"] is None  # type: ignore[index]


def test_several_posts_of_one_statement_share_a_track(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        found = execute(
            session,
            "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename) "
            "SELECT %s, 'song ' || n, 'audio', %s, 'one.mp3' FROM generate_series(1, 3) AS n RETURNING id, track_id",
            (user, ONE),
        )
    assert {row[1] for row in found} == {found[0][0]}
    assert len(tracks_of_user(options, user)) == 1


@pytest.mark.parametrize(
    "action", ["DO NOTHING", "DO UPDATE SET content = excluded.content, audio_url = excluded.audio_url"]
)
@pytest.mark.parametrize("file", [ONE, TWO])
def test_an_upsert_leaves_no_track_behind(options: Options, action: str, file: str) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        execute(
            session,
            "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename) "
            "VALUES (%s, %s, 'again', 'audio', %s, 'one.mp3') ON CONFLICT (id) " + action,
            (post, user, file),
        )
    expected = file if "UPDATE" in action else ONE
    assert tracks_of_user(options, user) == [(post, expected)]
    assert track_of(options, post) == post
    assert value(options, "SELECT count(*) FROM tracks_posts_separation.track_under_other_id") == 0


def test_an_upsert_that_inserts_makes_its_track(options: Options) -> None:
    user, post = make_user(options), str(uuid.uuid4())
    with application_session(options, user) as session:
        execute(
            session,
            "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename) "
            "VALUES (%s, %s, 'new', 'audio', %s, 'one.mp3') ON CONFLICT (id) DO UPDATE SET content = excluded.content",
            (post, user, ONE),
        )
    assert tracks_of_user(options, user) == [(post, ONE)]


def test_an_upsert_may_carry_the_decided_track(options: Options) -> None:
    """EXCLUDED holds what was decided for the row that is not inserted."""
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        for file in (ONE, TWO):
            execute(
                session,
                "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename) "
                "VALUES (%s, %s, 'again', 'audio', %s, 'one.mp3') "
                "ON CONFLICT (id) DO UPDATE SET audio_url = excluded.audio_url",
                (post, user, file),
            )
    assert tracks_of_user(options, user) == [(post, TWO)]


def test_edits_of_the_post_reach_its_track_and_those_of_a_repost_do_not(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        execute(session, "UPDATE public.posts SET content = 'edited', audio_duration = 7 WHERE id = %s", (post,))
        execute(session, "UPDATE public.posts SET content = 'repost edited' WHERE id = %s", (repost,))
    made = track(options, post)
    assert made is not None
    assert (made["description"], made["duration"]) == ("edited", 7)
    assert value(
        options,
        "SELECT p.updated_at = t.updated_at FROM public.posts p JOIN public.tracks t ON t.id = p.id WHERE p.id = %s",
        (post,),
    )


def test_an_edit_in_the_old_application_keeps_what_the_new_one_edited(done: Options) -> None:
    user = make_user(done)
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE)
        execute(session, "UPDATE public.tracks SET title = 'better', updated_at = now() WHERE id = %s", (post,))
        execute(session, "UPDATE public.posts SET content = 'edited' WHERE id = %s", (post,))
    made = track(done, post)
    assert made is not None
    assert (made["title"], made["description"]) == ("better", "edited")
    assert_sound_after_migration_3(done)


def test_another_file_follows_into_the_track(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        execute(
            session, "UPDATE public.posts SET audio_url = %s, audio_filename = 'two.mp3' WHERE id = %s", (TWO, post)
        )
    assert tracks_of_user(options, user) == [(post, TWO)]
    assert track_of(options, post) == post


def test_another_file_of_a_shared_track_leaves_the_others_alone(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, post))
    assert track(options, track_of(options, post))["file_url"] == TWO  # type: ignore[index]
    assert track(options, track_of(options, repost))["file_url"] == ONE  # type: ignore[index]
    assert query(options, "SELECT track_id::text, post_id::text FROM tracks_posts_separation.track_under_other_id") == [
        (track_of(options, post), post)
    ]


def test_a_repost_with_another_file_gets_a_track_of_its_own(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, repost))
    assert dict(tracks_of_user(options, user)) == {post: ONE, repost: TWO}
    assert (track_of(options, post), track_of(options, repost)) == (post, repost)


def test_a_file_that_another_post_has_takes_the_entries_along(done: Options) -> None:
    user = make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, user) as session:
        one, _ = insert_post(session, user, ONE)
        two, _ = insert_post(session, user, TWO)
        other = make_playlist(done, user)
        add_entry(session, playlist, one, 4)
        add_entry(session, playlist, two, 9)
        add_entry(session, other, two, 2)
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (ONE, two))
    assert tracks_of_user(done, user) == [(one, ONE)]
    assert entries(done, playlist) == [(one, 4)]
    assert entries(done, other) == [(one, 2)]
    assert [row["position"] for row in archived(done, "entry_of_replaced_track")] == [9]
    assert [row["id"] for row in archived(done, "track_without_post")] == [two]
    assert_sound_after_migration_3(done)


def test_a_post_that_becomes_text_loses_its_track_and_entries(options: Options) -> None:
    user = make_user(options)
    after_3 = value(
        options, "SELECT count(*) FROM tracks_posts_separation.setting WHERE name = 'playlists_reference_tracks'"
    )
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        playlist = make_playlist(options, user)
        add_entry(session, playlist, post)
        execute(
            session,
            "UPDATE public.posts SET post_type = 'text', audio_url = NULL, audio_filename = NULL WHERE id = %s",
            (post,),
        )
    assert tracks_of_user(options, user) == []
    assert track_of(options, post) is None
    assert len(entries(options, playlist)) == (0 if after_3 else 1)
    assert len(archived(options, "entry_of_deleted_track")) == after_3


def test_a_text_post_that_becomes_audio_gets_a_track(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, None)
        execute(
            session,
            "UPDATE public.posts SET post_type = 'audio', audio_url = %s, audio_filename = 'one.mp3' WHERE id = %s",
            (ONE, post),
        )
    assert tracks_of_user(options, user) == [(post, ONE)]
    assert track_of(options, post) == post


def test_deleting_the_last_post_of_a_track_deletes_the_track_and_its_entries(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        playlist = make_playlist(options, user)
        add_entry(session, playlist, post)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (repost,))
        assert tracks_of_user(options, user) == [(post, ONE)]
        assert len(entries(options, playlist)) == 1
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert tracks_of_user(options, user) == []
    assert entries(options, playlist) == []
    assert [row["id"] for row in archived(options, "track_without_post")] == [post]
    assert sorted(
        query(options, "SELECT post_id::text, track_id::text FROM tracks_posts_separation.deleted_post")
    ) == sorted([(repost, post), (post, post)])


def test_deleting_the_first_post_keeps_the_track_for_its_reposts(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
        assert tracks_of_user(options, user) == [(post, ONE)]
        execute(session, "DELETE FROM public.posts WHERE id = %s", (repost,))
    assert tracks_of_user(options, user) == []


def test_a_real_upload_outlives_its_posts(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, ONE),
        )
        post, _ = insert_post(session, user, ONE)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
        post, _ = insert_post(session, user, ONE)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert tracks_of_user(options, user) == [(upload, ONE)]


def test_a_post_of_the_new_application_names_its_track(options: Options) -> None:
    user = make_user(options)
    with application_session(options, user) as session:
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, ONE),
        )
        values = post_values(user, None, type="audio")
        execute(
            session,
            "INSERT INTO public.posts (id, user_id, content, post_type, track_id) "
            "VALUES (%(id)s, %(user)s, %(content)s, 'audio', %(track)s)",
            {**values, "track": upload},
        )
        execute(session, "UPDATE public.posts SET content = 'edited' WHERE id = %s", (values["id"],))
    assert track_of(options, values["id"]) == upload
    assert track(options, upload)["description"] is None  # type: ignore[index]


def test_the_new_application_may_change_the_track_of_an_old_post(done: Options) -> None:
    """The old application reads audio_url: it plays what the new one chose."""
    user = make_user(done)
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE)
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, TWO),
        )
        execute(session, "UPDATE public.posts SET track_id = %s WHERE id = %s", (upload, post))
    assert query(done, "SELECT audio_url, audio_filename, track_id::text FROM public.posts WHERE id = %s", (post,)) == [
        (TWO, "mine", upload)
    ]
    assert tracks_of_user(done, user) == [(upload, TWO)]
    assert_sound_after_migration_3(done)


@pytest.mark.parametrize("how", ["insert", "insert with file", "update", "text post", "change of user"])
def test_a_track_of_another_user_is_refused(done: Options, how: str) -> None:
    user, victim = make_user(done), make_user(done)
    with application_session(done, victim) as session:
        loot, _ = insert_post(session, victim, ONE)
    before = track(done, loot)
    statements: dict[str, tuple[str, dict[str, Any]]] = {
        "insert": (
            (
                "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%(user)s, 'x', "
                "'audio', %(track)s)"
            ),
            {},
        ),
        "insert with file": (
            "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename, track_id) "
            "VALUES (%(user)s, 'x', 'audio', %(file)s, 'one.mp3', %(track)s)",
            {},
        ),
        "update": ("UPDATE public.posts SET track_id = %(track)s WHERE id = %(own)s", {}),
        "text post": (
            (
                "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%(user)s, 'x', "
                "'text', %(track)s)"
            ),
            {},
        ),
        "change of user": ("UPDATE public.posts SET track_id = %(track)s, user_id = %(user)s WHERE id = %(own)s", {}),
    }
    with application_session(done, user) as session:
        own, _ = insert_post(session, user, TWO)
        statement, _ = statements[how]
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="is not a track of the post's user"):
            execute(session, statement, {"user": user, "track": loot, "file": ONE, "own": own})
    assert track(done, loot) == before


def test_the_file_of_another_user_does_not_touch_their_track(done: Options) -> None:
    user, victim = make_user(done), make_user(done)
    with application_session(done, victim) as session:
        theirs, _ = insert_post(session, victim, ONE)
    before = track(done, theirs)
    with application_session(done, user) as session:
        post, given = insert_post(session, user, ONE)
        execute(session, "UPDATE public.posts SET content = 'stolen', audio_filename = 'stolen' WHERE id = %s", (post,))
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, post))
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert given == post
    assert track(done, theirs) == before


def test_a_post_under_the_id_of_another_users_track_does_not_touch_it(done: Options) -> None:
    """Whoever knows the id of a track may post under it; the post then gets a track under a new id."""
    user, victim = make_user(done), make_user(done)
    with application_session(done, victim) as session:
        ((loot,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'theirs', %s) RETURNING id",
            (victim, ONE),
        )
    before = track(done, loot)
    with application_session(done, user) as session:
        post, given = insert_post(session, user, TWO, id=loot)
        assert given not in (loot, None)
        execute(session, "UPDATE public.posts SET content = 'stolen' WHERE id = %s", (post,))
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert track(done, loot) == before
    assert tracks_of_user(done, user) == []


def test_a_track_under_the_id_of_anothers_post_is_not_used_for_it(database_at: DatabaseAt) -> None:
    """Before the backfill gets to a post, somebody may upload a track under the post's id."""
    options = database_at(PREPARE)
    thief = make_user(options)
    post, owner = query(
        options,
        "SELECT id::text, user_id::text FROM public.posts AS p WHERE post_type = 'audio' AND NOT EXISTS "
        "(SELECT FROM public.posts AS q WHERE q.id <> p.id AND q.audio_url = p.audio_url AND q.user_id = p.user_id) "
        "AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.file_url = p.audio_url) ORDER BY id LIMIT 1",
    )[0]
    with application_session(options, thief) as session:
        execute(
            session,
            "INSERT INTO public.tracks (id, user_id, title, file_url) VALUES (%s, %s, 'trap', 'x')",
            (post, thief),
        )
    before = track(options, post)
    apply(options, MIGRATE)
    given = track_of(options, post)
    assert given not in (post, None)
    assert track(options, given)["user_id"] == owner  # type: ignore[index]
    assert track(options, post) == before


@pytest.mark.parametrize("keys", [True, False])
def test_an_account_can_be_deleted_where_its_posts_go_too(empty_database: Options, keys: bool) -> None:
    load_demo(empty_database, 50, user_keys=keys)
    apply(empty_database, *VERSIONS)
    user = make_user(empty_database)
    playlist = make_playlist(empty_database, user)
    with application_session(empty_database, user) as session:
        post, _ = insert_post(session, user, ONE)
        insert_post(session, user, ONE)
        add_entry(session, playlist, post)
    superuser = {**empty_database, "user": "supabase_admin"}
    if not keys:
        # The limit that preflight warns of: nothing takes the posts along.
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="posts_track_id_fkey"):
            query(superuser, "DELETE FROM auth.users WHERE id = %s", (user,))
        query(superuser, "DELETE FROM public.posts WHERE user_id = %s", (user,))
    query(superuser, "DELETE FROM auth.users WHERE id = %s", (user,))
    assert tracks_of_user(empty_database, user) == []
    assert query(empty_database, "SELECT 1 FROM public.posts WHERE user_id = %s", (user,)) == []
    if keys:
        assert archived(empty_database, "track_without_post") == []


def test_thousands_of_posts_and_entries_in_one_transaction_fit_into_the_lock_table(done: Options) -> None:
    """One advisory lock per file would fill it: it has room for some thousands."""
    user = make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, user) as session:
        execute(session, "BEGIN")
        execute(
            session,
            "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename) "
            "SELECT %s, 'song', 'audio', 'https://cdn.example.org/' || n, 'song' FROM generate_series(1, 9000) AS n",
            (user,),
        )
        execute(
            session,
            "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) "
            "SELECT %s, id, row_number() OVER () FROM public.posts WHERE user_id = %s",
            (playlist, user),
        )
        execute(session, "COMMIT")
    assert len(tracks_of_user(done, user)) == 9000
    query({**done, "user": "supabase_admin"}, "DELETE FROM auth.users WHERE id = %s", (user,))
    assert tracks_of_user(done, user) == []


def test_the_batch_flag_is_believed_of_the_owner_only(done: Options) -> None:
    user, victim = make_user(done), make_user(done)
    with application_session(done, victim) as session:
        loot, _ = insert_post(session, victim, ONE)
    with application_session(done, user) as session:
        own, _ = insert_post(session, user, TWO)
        execute(session, "SELECT set_config('tracks_posts_separation.batch', 'on', false)")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="is not a track of the post's user"):
            execute(session, "UPDATE public.posts SET track_id = %s WHERE id = %s", (loot, own))


def test_migration_4_refuses_an_audio_post_without_a_file(done: Options) -> None:
    user = make_user(done)
    with (
        application_session(done, user) as session,
        pytest.raises(psycopg2.errors.CheckViolation, match="audio_posts_must_have_track"),
    ):
        insert_post(session, user, " ", name="x")


@pytest.mark.parametrize("writer", ["owner", "authenticated", "service_role"])
def test_an_entry_by_post_id_becomes_an_entry_of_its_track(done: Options, writer: str) -> None:
    user = make_user(done)
    playlist = make_playlist(done, user)
    session_of = (
        application_session(done, user, "service_role")
        if writer == "service_role"
        else writer_session(done, user, writer)
    )
    with session_of as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        assert [row[1] for row in add_entry(session, playlist, repost, 3)] == [post]
        # The post and its repost are one song now: nothing is written, nothing fails, the request is kept.
        assert add_entry(session, playlist, repost, 5) == []
        assert add_entry(session, playlist, post, 6) == []
        # A file without reposts still gets the error that it is already listed.
        alone, _ = insert_post(session, user, "https://cdn.example.org/alone.mp3")
        add_entry(session, playlist, alone, 7)
        with pytest.raises(psycopg2.errors.UniqueViolation):
            add_entry(session, playlist, alone, 8)
    assert entries(done, playlist) == [(post, 3), (alone, 7)]
    kept = archived(done, "request_met_entry")
    assert [(row["track_id"], row["position"], row["playlist_id"]) for row in kept] == [
        (repost, 5, playlist),
        (post, 6, playlist),
    ]


def test_a_library_track_goes_into_a_playlist_as_it_is(done: Options) -> None:
    user = make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, user) as session:
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, ONE),
        )
        add_entry(session, playlist, upload)
    assert entries(done, playlist) == [(upload, 0)]


@pytest.mark.parametrize("what", ["text post", "nothing"])
def test_an_entry_of_no_track_is_refused_by_the_key(done: Options, what: str) -> None:
    user = make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, user) as session:
        target = insert_post(session, user, None)[0] if what == "text post" else str(uuid.uuid4())
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="playlist_tracks_track_id_fkey"):
            add_entry(session, playlist, target)


def test_reordering_by_upsert_keeps_the_entry(done: Options) -> None:
    user = make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        ((entry, _),) = add_entry(session, playlist, repost, 3)
        execute(
            session,
            "INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position) VALUES (%s, %s, %s, 8) "
            "ON CONFLICT (id) DO UPDATE SET position = excluded.position",
            (entry, playlist, repost),
        )
        execute(
            session, "UPDATE public.playlist_tracks SET position = 11, track_id = %s WHERE id = %s", (repost, entry)
        )
    assert entries(done, playlist) == [(post, 11)]
    assert archived(done, "request_met_entry") == []


def test_the_old_application_finds_an_entry_by_the_first_posts_id_only(done: Options) -> None:
    """The documented limit: the id of a repost finds nothing any more."""
    user = make_user(done)
    playlist = make_playlist(done, user)
    remove = "DELETE FROM public.playlist_tracks WHERE playlist_id = %s AND track_id = %s RETURNING id"
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        add_entry(session, playlist, repost)
        assert execute(session, remove, (playlist, repost)) == []
        assert len(execute(session, remove, (playlist, post))) == 1


@pytest.mark.parametrize("mine", [True, False])
def test_a_strangers_playlist_answers_nothing(done: Options, mine: bool) -> None:
    """A SECURITY DEFINER trigger runs before row-level security and must not reveal a private playlist."""
    user, stranger = make_user(done), make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, stranger) as session:
        post, _ = insert_post(session, stranger, ONE)
        repost, _ = insert_post(session, stranger, ONE)
        if mine:
            with owner_session(done) as owner:
                add_entry(owner, playlist, post)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security"):
            add_entry(session, playlist, repost)
    assert archived(done, "request_met_entry") == []


def test_the_api_can_still_join_posts(done: Options) -> None:
    """PostgREST embeds posts(*) through this function, as the caller."""
    user = make_user(done)
    playlist = make_playlist(done, user)
    with application_session(done, user) as session:
        post, _ = insert_post(session, user, ONE)
        insert_post(session, user, ONE)
        add_entry(session, playlist, post)
        found = execute(
            session,
            "SELECT p.id FROM public.playlist_tracks AS e, LATERAL public.posts(e) AS p WHERE e.playlist_id = %s",
            (playlist,),
        )
    assert found == [(post,)]
    assert (
        value(done, "SELECT prorows FROM pg_proc WHERE oid = 'public.posts(public.playlist_tracks)'::regprocedure") == 1
    )
    assert not value(
        done, "SELECT prosecdef FROM pg_proc WHERE oid = 'public.posts(public.playlist_tracks)'::regprocedure"
    )
