"""Two real sessions at a time: what each interleaving leaves in the database. Nothing here waits for a time to pass."""

from __future__ import annotations

from collections.abc import Callable

import application
import psycopg2
import pytest
from application import (
    INSERT_POST,
    WRITERS,
    add_entry,
    archived,
    assert_sound_after_migration_2,
    assert_sound_after_migration_3,
    entries,
    execute,
    in_background,
    insert_post,
    make_playlist,
    make_user,
    migrate_all,
    open_batch,
    post_values,
    track,
    track_of,
    tracks_of_user,
    wait_until_blocked,
    writer_session,
)
from plan_sql import MIGRATE, PLAYLISTS, PREPARE, apply, apply_before_backfill, owner_session, run_step, steps_of
from support.servers import Options, application_session, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"

#: A session that waits for a locked row holds a lock on the row itself: it is next.
WAITS_FOR_A_FILE = (
    "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'tuple'"
    " AND relation = 'tracks_posts_separation.lock_slot'::regclass"
)

#: What the old application does to a post of its own, and what a track of that post must look like then.
CHANGES = {
    "edit": "UPDATE public.posts SET content = 'edited' WHERE id = %(post)s",
    "other file": "UPDATE public.posts SET audio_url = %(file)s, content = 'edited' WHERE id = %(post)s",
    "delete": "DELETE FROM public.posts WHERE id = %(post)s",
    "becomes text": (
        "UPDATE public.posts SET post_type = 'text', audio_url = NULL, audio_filename = NULL, content = 'edited' "
        "WHERE id = %(post)s"
    ),
}


@pytest.fixture(params=application.WAYS, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(application, "MIGRATE_ALL", application.WAYS[request.param])
    return str(request.param)


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options(database_at: DatabaseAt) -> Options:
    """After migration 1: the triggers work, no post is migrated."""
    return database_at(PREPARE)


def unmigrated_post(options: Options, user: str, file: str = ONE) -> str:
    """A post as it was before migration 1: without a track."""
    values = post_values(user, file)
    with owner_session(options) as connection:
        execute(connection, "SET session_replication_role = replica")
        execute(connection, INSERT_POST, values)
    return str(values["id"])


def assert_track_of_changed_post(options: Options, user: str, post: str, change: str) -> None:
    if change in ("delete", "becomes text"):
        assert tracks_of_user(options, user) == []
        assert track_of(options, post) is None
        return
    assert tracks_of_user(options, user) == [(post, TWO if change == "other file" else ONE)]
    assert track_of(options, post) == post
    assert track(options, post)["description"] == "edited"  # type: ignore[index]


# ------------------------------------------------------------------ the application writes a post of the batch


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_began_before_the_batch_is_not_lost(options: Options, writer: str, change: str) -> None:
    user = make_user(options)
    post = unmigrated_post(options, user)
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(session, "BEGIN")
        execute(session, CHANGES[change], {"post": post, "file": TWO})
        call = in_background(batch, application.MIGRATE_ALL)
        assert wait_until_blocked(options, batch, call) == [session.info.backend_pid]
        execute(session, "COMMIT")
        call.finish()
    assert_track_of_changed_post(options, user, post, change)
    assert_sound_after_migration_2(options)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_during_the_batch_waits_for_it_and_is_not_lost(options: Options, writer: str, change: str) -> None:
    user = make_user(options)
    post = unmigrated_post(options, user)
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session:
        with open_batch(options) as batch:
            call = in_background(session, CHANGES[change], {"post": post, "file": TWO})
            assert wait_until_blocked(options, session, call) == [batch.info.backend_pid]
        call.finish()
    assert_track_of_changed_post(options, user, post, change)
    assert_sound_after_migration_2(options)


def test_a_change_that_is_rolled_back_leaves_the_batch_its_post(options: Options, writer: str) -> None:
    user = make_user(options)
    post = unmigrated_post(options, user)
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(session, "BEGIN")
        execute(session, CHANGES["delete"], {"post": post})
        call = in_background(batch, application.MIGRATE_ALL)
        wait_until_blocked(options, batch, call)
        execute(session, "ROLLBACK")
        call.finish()
    assert tracks_of_user(options, user) == [(post, ONE)]
    assert track(options, post)["description"] == "Listen to this"  # type: ignore[index]
    assert_sound_after_migration_2(options)


def test_comments_are_written_while_a_batch_holds_the_posts(options: Options, writer: str) -> None:
    user = make_user(options)
    post = unmigrated_post(options, user)
    apply_before_backfill(options)
    with open_batch(options), writer_session(options, user, writer) as session:
        execute(session, "SET statement_timeout = '20s'")
        execute(
            session, "INSERT INTO public.comments (post_id, user_id, content) VALUES (%s, %s, 'nice')", (post, user)
        )
    assert_sound_after_migration_2(options)


# ------------------------------------------------------------------ two posts of one file


@pytest.mark.parametrize("first_ends", ["COMMIT", "ROLLBACK"])
def test_two_sessions_post_the_same_new_file(options: Options, writer: str, first_ends: str) -> None:
    user = make_user(options)
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        execute(one, "BEGIN")
        first, _ = insert_post(one, user, ONE)
        values = post_values(user, ONE)
        call = in_background(two, INSERT_POST, values)
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, first_ends)
        call.finish()
    expected = first if first_ends == "COMMIT" else values["id"]
    assert tracks_of_user(options, user) == [(expected, ONE)]
    assert track_of(options, values["id"]) == expected
    apply_before_backfill(options)
    assert_sound_after_migration_2(options)


def test_a_repost_before_its_original_is_migrated_takes_the_originals_id(options: Options, writer: str) -> None:
    user = make_user(options)
    original = unmigrated_post(options, user)
    with writer_session(options, user, writer) as session:
        _, given = insert_post(session, user, ONE, content="again")
    assert given == original
    assert track(options, original)["description"] == "Listen to this"  # type: ignore[index]
    assert track_of(options, original) is None
    apply_before_backfill(options)
    assert_sound_after_migration_2(options)
    assert track_of(options, original) == original


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_the_batch_meets_a_repost_that_is_not_committed(options: Options, writer: str, ending: str) -> None:
    """Both make the original's track: the batch waits at the primary key and finds it made, or makes it."""
    user = make_user(options)
    original = unmigrated_post(options, user)
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(session, "BEGIN")
        repost, given = insert_post(session, user, ONE)
        assert given == original
        call = in_background(batch, application.MIGRATE_ALL)
        assert wait_until_blocked(options, batch, call) == [session.info.backend_pid]
        execute(session, ending)
        call.finish()
    assert tracks_of_user(options, user) == [(original, ONE)]
    assert track_of(options, original) == original
    assert track_of(options, repost) == (original if ending == "COMMIT" else None)
    assert_sound_after_migration_2(options)


def test_a_repost_meets_a_batch_that_is_not_committed(options: Options, writer: str) -> None:
    user = make_user(options)
    original = unmigrated_post(options, user)
    apply_before_backfill(options)
    values = post_values(user, ONE)
    with writer_session(options, user, writer) as session:
        with open_batch(options) as batch:
            call = in_background(session, INSERT_POST, values)
            assert wait_until_blocked(options, session, call) == [batch.info.backend_pid]
        assert call.finish() == [(original,)]
    assert tracks_of_user(options, user) == [(original, ONE)]
    assert_sound_after_migration_2(options)


def test_the_batch_takes_its_file_locks_before_it_inserts(options: Options, writer: str, way: str) -> None:
    """A session holds the file's lock and inserts on: the batch must hold no track that it wants."""
    user = make_user(options)
    original = unmigrated_post(options, user)
    older_repost = unmigrated_post(options, user)
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(session, "BEGIN")
        repost, given = insert_post(session, user, ONE)
        call = in_background(batch, application.MIGRATE_ALL)
        assert wait_until_blocked(options, batch, call) == [session.info.backend_pid]
        # Workers leave the older repost aside: they wait for the track itself.
        assert value(options, WAITS_FOR_A_FILE) == (way == "at once")
        # Another new file of the same session needs nothing of the batch.
        insert_post(session, user, TWO)
        execute(session, "COMMIT")
        call.finish()
    assert {track_of(options, post) for post in (original, older_repost, repost)} == {given}
    assert_sound_after_migration_2(options)


def test_the_exceptions_wait_for_who_holds_their_file(options: Options, writer: str) -> None:
    user = make_user(options)
    original, older_repost = sorted(unmigrated_post(options, user) for _ in range(2))
    apply_before_backfill(options)
    posts, exceptions = application.WAYS["as workers"].split(";")
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(batch, posts)
        assert (track_of(options, original), track_of(options, older_repost)) == (original, None)
        execute(session, "BEGIN")
        repost, given = insert_post(session, user, ONE)
        call = in_background(batch, exceptions)
        assert wait_until_blocked(options, batch, call) == [session.info.backend_pid]
        assert value(options, WAITS_FOR_A_FILE) is True
        insert_post(session, user, TWO)
        execute(session, "COMMIT")
        call.finish()
    assert {track_of(options, post) for post in (original, older_repost, repost)} == {given} == {original}
    assert_sound_after_migration_2(options)


@pytest.mark.parametrize("change", ["other file", "delete", "becomes text"])
@pytest.mark.parametrize("first", ["repost", "change"])
def test_the_original_changes_while_a_repost_arrives(options: Options, writer: str, change: str, first: str) -> None:
    """The track made for the repost must not follow the original to its new file, nor stay without any post."""
    user = make_user(options)
    original = unmigrated_post(options, user)
    values = post_values(user, ONE)
    statements = {"repost": (INSERT_POST, values), "change": (CHANGES[change], {"post": original, "file": TWO})}
    second = "change" if first == "repost" else "repost"
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        execute(one, "BEGIN")
        execute(one, *statements[first])
        call = in_background(two, *statements[second])
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        call.finish()
    assert track(options, track_of(options, values["id"]))["file_url"] == ONE  # type: ignore[index]
    if change == "other file":
        assert track(options, track_of(options, original))["file_url"] == TWO  # type: ignore[index]
    assert sorted(file for _, file in tracks_of_user(options, user)) == (
        [ONE, TWO] if change == "other file" else [ONE]
    )
    apply_before_backfill(options)
    assert_sound_after_migration_2(options)


def test_the_original_of_an_exception_changes_after_the_exceptions_were_found(options: Options, writer: str) -> None:
    """The list is from before: the batch looks at the track again."""
    user = make_user(options)
    original = unmigrated_post(options, user)
    repost = unmigrated_post(options, user)
    original, repost = sorted([original, repost])
    apply_before_backfill(options)
    assert query(
        options,
        "SELECT post_id::text, track_id::text FROM tracks_posts_separation.exception WHERE post_id = %s",
        (repost,),
    ) == [(repost, original)]
    with writer_session(options, user, writer) as session:
        execute(session, CHANGES["other file"], {"post": original, "file": TWO})
    assert_sound_after_migration_2(options)
    assert track(options, track_of(options, repost))["file_url"] == ONE  # type: ignore[index]
    assert track(options, track_of(options, original))["file_url"] == TWO  # type: ignore[index]


def test_a_library_track_of_an_exception_goes_while_the_batch_wants_it(options: Options, writer: str) -> None:
    user = make_user(options)
    post = unmigrated_post(options, user)
    upload = value(
        options,
        "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
        (user, ONE),
    )
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(session, "BEGIN")
        execute(session, "DELETE FROM public.tracks WHERE id = %s", (upload,))
        call = in_background(batch, application.MIGRATE_ALL)
        assert wait_until_blocked(options, batch, call) == [session.info.backend_pid]
        execute(session, "COMMIT")
        call.finish()
    assert track_of(options, post) == post
    assert_sound_after_migration_2(options)


def test_a_library_track_cannot_go_under_a_batch(options: Options, writer: str) -> None:
    user = make_user(options)
    post = unmigrated_post(options, user)
    upload = value(
        options,
        "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
        (user, ONE),
    )
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session:
        with open_batch(options) as batch:
            call = in_background(session, "DELETE FROM public.tracks WHERE id = %s", (upload,))
            assert wait_until_blocked(options, session, call) == [batch.info.backend_pid]
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="posts_track_id_fkey"):
            call.finish()
    assert track_of(options, post) == upload
    assert_sound_after_migration_2(options)


def test_a_batch_gives_way_where_a_session_waits_for_it_while_holding_a_file(options: Options, writer: str) -> None:
    """The one cycle that is left: the batch's lock_timeout ends it long before the deadlock detector looks."""
    user = make_user(options)
    original, repost = sorted([unmigrated_post(options, user), unmigrated_post(options, user)])
    apply_before_backfill(options)
    with writer_session(options, user, writer) as session, owner_session(options) as batch:
        execute(session, "BEGIN")
        third, given = insert_post(session, user, ONE)
        execute(batch, "SET lock_timeout = '300ms'")
        call = in_background(batch, application.MIGRATE_ALL)
        wait_until_blocked(options, batch, call)
        waiting = in_background(session, CHANGES["edit"], {"post": repost})
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            call.finish()
        waiting.finish()
        execute(session, "COMMIT")
    assert {track_of(options, post) for post in (repost, third)} == {given}
    assert_sound_after_migration_2(options)
    assert track_of(options, original) == given


# ------------------------------------------------------------------ accounts


def test_an_account_deleted_before_the_batch_reaches_it(options: Options) -> None:
    user = make_user(options)
    unmigrated_post(options, user)
    apply_before_backfill(options)
    superuser = {**options, "user": "supabase_admin"}
    with owner_session(superuser) as admin, owner_session(options) as batch:
        execute(admin, "BEGIN")
        execute(admin, "DELETE FROM auth.users WHERE id = %s", (user,))
        call = in_background(batch, application.MIGRATE_ALL)
        assert wait_until_blocked(options, batch, call) == [admin.info.backend_pid]
        execute(admin, "COMMIT")
        call.finish()
    assert tracks_of_user(options, user) == []
    assert_sound_after_migration_2(options)


def test_an_account_deleted_during_the_batch(options: Options) -> None:
    user = make_user(options)
    unmigrated_post(options, user)
    apply_before_backfill(options)
    superuser = {**options, "user": "supabase_admin"}
    with owner_session(superuser) as admin:
        with open_batch(options) as batch:
            call = in_background(admin, "DELETE FROM auth.users WHERE id = %s", (user,))
            assert wait_until_blocked(options, admin, call) == [batch.info.backend_pid]
        call.finish()
    assert tracks_of_user(options, user) == []
    assert query(options, "SELECT 1 FROM public.posts WHERE user_id = %s", (user,)) == []
    assert_sound_after_migration_2(options)


# ------------------------------------------------------------------ playlists


def test_an_entry_added_before_the_swap_is_swapped(database_at: DatabaseAt, writer: str) -> None:
    options = database_at(MIGRATE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with writer_session(options, user, writer) as session, owner_session(options) as runner:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        execute(session, "BEGIN")
        add_entry(session, playlist, repost, 7)
        for step in steps_of(PLAYLISTS):
            if step.kind == "concurrently":
                continue  # it would wait for the open transaction
            if step.name == "swap the key of the playlist entries":
                statements = ["BEGIN"]
                statements += [f"LOCK TABLE {lock.table} IN {lock.mode} MODE" for lock in step.locks]
                call = in_background(runner, "; ".join([*statements, *step.statements, "COMMIT"]))
                assert wait_until_blocked(options, runner, call) == [session.info.backend_pid]
                execute(session, "COMMIT")
                call.finish()
            else:
                run_step(runner, step)
    assert entries(options, playlist) == [(post, 7)]
    assert [row["track_id"] for row in archived(options, "entry_repointed") if row["playlist_id"] == playlist] == [
        repost
    ]
    assert_sound_after_migration_3(options)


def test_an_entry_added_during_the_swap_is_translated(database_at: DatabaseAt, writer: str) -> None:
    """It waits for the tables, and finds the trigger when it continues."""
    options = database_at(MIGRATE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    insert = "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) VALUES (%s, %s, 7)"
    with writer_session(options, user, writer) as session, owner_session(options) as runner:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        for step in steps_of(PLAYLISTS):
            if step.name != "swap the key of the playlist entries":
                run_step(runner, step)
                continue
            execute(runner, "BEGIN")
            for statement in step.statements:
                execute(runner, statement)
            call = in_background(session, insert, (playlist, repost))
            assert wait_until_blocked(options, session, call) == [runner.info.backend_pid]
            execute(runner, "COMMIT")
            call.finish()
    assert entries(options, playlist) == [(post, 7)]
    assert_sound_after_migration_3(options)


@pytest.mark.parametrize("first", ["post", "repost"])
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_post_and_its_repost_are_added_to_one_playlist_at_once(
    database_at: DatabaseAt, writer: str, first: str, ending: str
) -> None:
    options = database_at(PLAYLISTS)
    user = make_user(options)
    playlist = make_playlist(options, user)
    insert = "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) VALUES (%s, %s, 7)"
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        post, _ = insert_post(one, user, ONE)
        repost, _ = insert_post(one, user, ONE)
        execute(one, "BEGIN")
        add_entry(one, playlist, post if first == "post" else repost, 3)
        call = in_background(two, insert, (playlist, repost))
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, ending)
        call.finish()
    assert entries(options, playlist) == [(post, 3 if ending == "COMMIT" else 7)]
    assert len(archived(options, "request_met_entry")) == (1 if ending == "COMMIT" else 0)
    assert_sound_after_migration_3(options)


# ------------------------------------------------------------------ the last post of a track


def test_two_sessions_delete_the_last_two_posts_of_a_track(database_at: DatabaseAt, writer: str) -> None:
    options = database_at(PLAYLISTS)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        post, _ = insert_post(one, user, ONE)
        repost, _ = insert_post(one, user, ONE)
        add_entry(one, playlist, post)
        execute(one, "BEGIN")
        execute(one, CHANGES["delete"], {"post": post})
        call = in_background(two, CHANGES["delete"], {"post": repost})
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        call.finish()
    assert tracks_of_user(options, user) == []
    assert entries(options, playlist) == []
    assert len(archived(options, "track_without_post")) == 1
    assert_sound_after_migration_3(options)


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_repost_arrives_while_the_last_post_is_deleted(database_at: DatabaseAt, writer: str, ending: str) -> None:
    options = database_at(PLAYLISTS)
    user = make_user(options)
    values = post_values(user, ONE)
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        post, _ = insert_post(one, user, ONE)
        execute(one, "BEGIN")
        execute(one, CHANGES["delete"], {"post": post})
        call = in_background(two, INSERT_POST, values)
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, ending)
        call.finish()
    expected = values["id"] if ending == "COMMIT" else post
    assert tracks_of_user(options, user) == [(expected, ONE)]
    assert track_of(options, values["id"]) == expected
    assert_sound_after_migration_3(options)


def test_the_new_application_posts_a_track_whose_last_post_goes(database_at: DatabaseAt, writer: str) -> None:
    options = database_at(PLAYLISTS)
    user = make_user(options)
    insert = "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%s, 'new', 'audio', %s)"
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        post, _ = insert_post(one, user, ONE)
        execute(one, "BEGIN")
        execute(one, insert, (user, post))
        call = in_background(two, CHANGES["delete"], {"post": post})
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        call.finish()
        assert tracks_of_user(options, user) == [(post, ONE)]
        # The other way round there is no track any more to post: the key says so.
        execute(one, "DELETE FROM public.posts WHERE user_id = %s", (user,))
        post, _ = insert_post(one, user, ONE)
        execute(one, "BEGIN")
        execute(one, CHANGES["delete"], {"post": post})
        call = in_background(two, insert, (user, post))
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            call.finish()
    assert tracks_of_user(options, user) == []
    assert_sound_after_migration_3(options)


def test_migration_1_waits_for_writers_so_that_none_escapes_the_triggers(database: Options) -> None:
    """A post that is being written when the triggers come is an ordinary post of the backfill."""
    user = make_user(database)
    with application_session(database, user) as session, owner_session(database) as runner:
        for step in steps_of(PREPARE)[:-1]:
            run_step(runner, step)
        execute(session, "BEGIN")
        post, given = insert_post(session, user, ONE)
        assert given is None
        last = steps_of(PREPARE)[-1]
        call = in_background(runner, "; ".join(last.statements))
        assert wait_until_blocked(database, runner, call) == [session.info.backend_pid]
        execute(session, "COMMIT")
        call.finish()
    apply(database, MIGRATE)
    assert track_of(database, post) == post
    with owner_session(database) as connection:
        migrate_all(connection)
