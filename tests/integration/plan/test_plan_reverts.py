"""The revert files bring catalogue and rows back, whatever the applications did meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from application import add_entry, archived, entries, execute, insert_post, make_playlist, make_user, track_of
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    VERSIONS,
    apply,
    catalogue,
    migration,
    owner_session,
    plan,
    psql,
    revert,
    run_step,
    schema_text,
    steps_of,
    table,
)
from psycopg2 import sql
from support.modules import run_module
from support.servers import Options, Server, application_session, load_demo, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"
TABLES = ("public.tracks", "public.posts", "public.comments", "public.playlists", "public.playlist_tracks")


def everything(server: Server, options: Options) -> tuple[Any, ...]:
    """Schema text, catalogue and rows, but for what an archive that outlived its helper schema adds (as documented)."""
    query(options, "DROP SCHEMA IF EXISTS tracks_posts_separation_kept CASCADE")
    return schema_text(server, options), catalogue(options), {name: table(options, name) for name in TABLES}


def kept(options: Options, reason: str) -> list[dict[str, Any]]:
    rows = query(
        options,
        "SELECT row_data FROM tracks_posts_separation_kept.archive WHERE reason = %s ORDER BY id",
        (reason,),
    )
    return [row for (row,) in rows]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_revert_brings_back_what_was_before_its_migration(
    server: Server, database: Options, database_at: DatabaseAt, version: str
) -> None:
    earlier = [each for each in VERSIONS if each < version]
    before = everything(server, database_at(earlier[-1]) if earlier else database)
    options = database_at(version)
    revert(options, version, each_step_twice=True)
    after = everything(server, options)
    assert after[2] == before[2]
    assert after[1] == before[1]
    assert after[0] == before[0]


@pytest.mark.parametrize("with_check", [True, False])
@pytest.mark.parametrize("with_keys", [True, False])
def test_all_reverts_bring_back_every_kind_of_deployment(
    server: Server, empty_database: Options, with_check: bool, with_keys: bool
) -> None:
    load_demo(empty_database, 100, user_keys=with_keys, audio_fields_check=with_check)
    before = everything(server, empty_database)
    apply(empty_database, *VERSIONS)
    revert(empty_database, *VERSIONS)
    assert everything(server, empty_database) == before


def test_the_migration_can_be_applied_again_after_its_revert(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    before = {name: table(options, name) for name in TABLES}
    revert(options, *VERSIONS)
    apply(options, *VERSIONS)
    assert {name: table(options, name) for name in TABLES} == before


def test_psql_reverts_whole_files(server: Server, database: Options, database_at: DatabaseAt) -> None:
    before = everything(server, database)
    options = database_at(FINALIZE)
    for version in reversed(VERSIONS):
        entry = migration(version)
        done = psql(server, options, entry["revert_functions"], entry["revert_file"])
        assert done.returncode == 0, done.stderr
    assert everything(server, options) == before


def test_constraints_that_were_not_valid_come_back_not_valid(server: Server, empty_database: Options) -> None:
    load_demo(empty_database, 30, audio_fields_check=False)
    query(
        empty_database,
        (
            "ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check CHECK (post_type <> "
            "'audio' OR audio_url IS NOT NULL) NOT VALID"
        ),
    )
    before = everything(server, empty_database)
    apply(empty_database, *VERSIONS)
    revert(empty_database, *VERSIONS)
    assert everything(server, empty_database) == before


def test_what_came_after_an_abandoned_run_counts_as_here_before_the_next_one(database: Options) -> None:
    """A run that has noted what was here, and changed no table, may be closed: others go on deploying."""
    query(database, "CREATE INDEX idx_tracks_user_id ON public.tracks (user_id)")
    with owner_session(database) as connection:
        steps = steps_of(PREPARE)
        noted = next(n for n, step in enumerate(steps) if "what exists already" in step.name)
        for step in steps[: noted + 1]:
            run_step(connection, step)
    query(database, "ALTER TABLE public.tracks ADD file_size integer CHECK (file_size > 0)")
    query(database, "UPDATE public.tracks SET file_size = 7")
    query(database, "DROP INDEX public.idx_tracks_user_id")
    before = table(database, "public.tracks")
    apply(database, *VERSIONS)
    query(database, "ALTER TABLE public.tracks ADD isrc text")
    revert(database, *VERSIONS)
    query(database, "ALTER TABLE public.tracks DROP isrc")
    assert table(database, "public.tracks") == before
    assert value(database, "SELECT to_regclass('public.idx_tracks_user_id') IS NULL")


@pytest.mark.parametrize("times", [1, 2])
def test_what_a_run_made_itself_does_not_count_as_here_before_it(database: Options, times: int) -> None:
    """Also where its first steps run again after it has changed a table."""
    before = table(database, "public.tracks")
    with owner_session(database) as connection:
        steps = steps_of(PREPARE)
        changed = next(n for n, step in enumerate(steps) if step.name.startswith("add the columns"))
        for _ in range(times):
            for step in steps[: changed + 1]:
                run_step(connection, step)
    apply(database, *VERSIONS)
    revert(database, *VERSIONS)
    assert table(database, "public.tracks") == before


def restore_rows(options: Options, kept: dict[str, dict[Any, Any]]) -> None:
    """What an in-place restore does to the rows, in its plainest form."""
    with owner_session(options) as connection:
        execute(connection, "SET session_replication_role = replica")
        for name in reversed(TABLES):
            execute(connection, sql.SQL("DELETE FROM {}").format(sql.Identifier(*name.split("."))))
        for name in TABLES:
            identifier = sql.Identifier(*name.split("."))
            insert = sql.SQL("INSERT INTO {} SELECT (jsonb_populate_record(NULL::{}, %s::jsonb)).*").format(
                identifier, identifier
            )
            for row in kept[name].values():
                execute(connection, insert, (row,))


def test_steps_without_rows_work_in_one_transaction_as_an_in_place_restore_runs_them(
    server: Server, database: Options
) -> None:
    before = everything(server, database)
    apply(database, *VERSIONS)
    user = make_user(database)
    with application_session(database, user) as session:
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, ONE),
        )
        execute(
            session,
            "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%s, 'new', 'audio', %s)",
            (user, upload),
        )
        insert_post(session, user, TWO)
        playlist = make_playlist(database, user)
        add_entry(session, playlist, upload)
    steps = [step for version in reversed(VERSIONS) for step in steps_of(version, "reverted") if not step.data]
    with owner_session(database, {}) as connection:
        execute(connection, "BEGIN")
        for step in steps:
            for statement in step.statements if step.kind != "validate" else ():
                execute(connection, statement)
        execute(connection, "COMMIT")
        restore_rows(database, before[2])
        query({**database, "user": "supabase_admin"}, "DELETE FROM auth.users WHERE id = %s", (user,))
        for step in steps:
            if step.kind == "validate":
                execute(connection, step.statements[0])
        # A row of the new application blocked the file's own step.
        execute(connection, "ALTER TABLE public.posts VALIDATE CONSTRAINT posts_audio_fields_check")
    after = everything(server, database)
    assert after[1] == before[1]
    assert after[2] == before[2]
    assert after[0] == before[0]


def test_posts_of_the_new_application_get_their_file_back_as_columns(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    user = make_user(options)
    with application_session(options, user) as session:
        ((upload,),) = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url, mime_type, file_size, duration) "
            "VALUES (%s, 'mine', %s, 'audio/mpeg', 5, 6) RETURNING id",
            (user, ONE),
        )
        ((post, edited),) = execute(
            session,
            (
                "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%s, 'new', "
                "'audio', %s) RETURNING id, updated_at"
            ),
            (user, upload),
        )
    revert(options, *VERSIONS)
    found = query(
        options,
        (
            "SELECT audio_url, audio_filename, audio_mime_type, audio_file_size, audio_duration, "
            "updated_at FROM public.posts WHERE id = %s"
        ),
        (post,),
    )
    assert found == [(ONE, "one.mp3", "audio/mpeg", 5, 6, edited)]
    assert query(options, "SELECT id FROM public.tracks WHERE user_id = %s", (user,)) == [(upload,)]


def test_what_the_triggers_made_goes_and_real_uploads_stay(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    uploads = {
        row[0]
        for row in query(
            options, "SELECT id FROM public.tracks AS t WHERE NOT EXISTS (SELECT FROM public.posts WHERE id = t.id)"
        )
    }
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))  # its track stays: the repost has it
        split, _ = insert_post(session, user, TWO)
        insert_post(session, user, TWO)
        execute(
            session, "UPDATE public.posts SET audio_url = 'https://cdn.example.org/three.mp3' WHERE id = %s", (split,)
        )
        ((upload,),) = execute(
            session,
            # As old as any migrated track: undoing by created_at would take it.
            (
                "INSERT INTO public.tracks (user_id, title, file_url, created_at) VALUES (%s, 'mine', "
                "'x', '2024-01-01') RETURNING id"
            ),
            (user,),
        )
    assert len(query(options, "SELECT 1 FROM public.tracks WHERE user_id = %s", (user,))) == 4
    revert(options, FINALIZE, PLAYLISTS, MIGRATE)
    assert {row[0] for row in query(options, "SELECT id FROM public.tracks")} == uploads | {upload}
    assert track_of(options, repost) is None


def test_entries_come_back_as_they_were(database_at: DatabaseAt) -> None:
    options = database_at(MIGRATE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        text, _ = insert_post(session, user, None)
        for position, entry in enumerate((repost, text, post)):
            add_entry(session, playlist, entry, position)
    before = table(options, "public.playlist_tracks")
    apply(options, PLAYLISTS)
    assert entries(options, playlist) == [(post, 0)]
    revert(options, PLAYLISTS)
    assert table(options, "public.playlist_tracks") == before
    assert query(options, "SELECT reason FROM tracks_posts_separation.archive") == []


def test_entries_of_a_post_that_became_text_or_changed_its_file_come_back(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with application_session(options, user) as session:
        posts = [insert_post(session, user, f"https://cdn.example.org/{name}.mp3")[0] for name in "abc"]
        for position, post in enumerate(posts):
            add_entry(session, playlist, post, position)
        execute(
            session,
            "UPDATE public.posts SET post_type = 'text', audio_url = NULL, audio_filename = NULL WHERE id = %s",
            (posts[0],),
        )
        execute(
            session, "UPDATE public.posts SET audio_url = 'https://cdn.example.org/b.mp3' WHERE id = %s", (posts[2],)
        )
    assert entries(options, playlist) == [(posts[1], 1)]
    revert(options, FINALIZE, PLAYLISTS)
    assert entries(options, playlist) == [(post, position) for position, post in enumerate(posts)]


def test_entries_that_changed_since_are_not_undone(database_at: DatabaseAt) -> None:
    options = database_at(MIGRATE)
    user = make_user(options)
    removed, moved = make_playlist(options, user), make_playlist(options, user)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        for playlist in (removed, moved):
            add_entry(session, playlist, repost, 0)
            add_entry(session, playlist, post, 1)
    apply(options, PLAYLISTS)
    with application_session(options, user) as session:
        execute(session, "DELETE FROM public.playlist_tracks WHERE playlist_id = %s", (removed,))
        execute(session, "UPDATE public.playlist_tracks SET position = 9 WHERE playlist_id = %s", (moved,))
    revert(options, PLAYLISTS)
    assert entries(options, removed) == []
    assert entries(options, moved) == [(repost, 9)]
    assert sorted(row["stays_because"] for row in archived(options, "entry_collapsed")) == [
        "the entry it was merged into is gone",
        "the entry it was merged into was changed",
    ]


def test_entries_of_the_new_application_point_at_a_post_or_are_archived(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    user = make_user(options)
    playlist = make_playlist(options, user)
    with application_session(options, user) as session:
        posted, alone = (
            execute(
                session,
                "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
                (user, file),
            )[0][0]
            for file in (ONE, TWO)
        )
        post, _ = insert_post(session, user, ONE)
        add_entry(session, playlist, posted, 0)
        add_entry(session, playlist, alone, 1)
    revert(options, FINALIZE, PLAYLISTS)
    assert entries(options, playlist) == [(post, 0)]
    assert [row["track_id"] for row in archived(options, "entry_without_post")] == [alone]
    revert(options, MIGRATE, PREPARE)
    assert value(options, "SELECT to_regnamespace('tracks_posts_separation') IS NULL")
    assert [row["track_id"] for row in kept(options, "entry_without_post")] == [alone]
    apply(options, PREPARE, MIGRATE, PLAYLISTS)
    assert sorted(entries(options, playlist)) == sorted([(posted, 0), (alone, 1)])
    assert archived(options, "entry_without_post") == []
    assert value(options, "SELECT to_regnamespace('tracks_posts_separation_kept') IS NULL")


def test_what_a_rollback_set_aside_is_listed_and_comes_back(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    query({**options, "user": "supabase_admin"}, "DROP SCHEMA IF EXISTS tracks_posts_separation_kept CASCADE")
    user = make_user(options)
    with application_session(options, user) as session:
        playlist = make_playlist(options, user)
        upload = "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id"
        ((alone,),) = execute(session, upload, (user, TWO))
        add_entry(session, playlist, alone, 0)
    revert(options, *VERSIONS)
    which: dict[str, Any] = {"connection": dict(options), "plan": plan(), "reason": "entry_without_post"}
    listed = run_module("pg_restore_archived", connection=dict(options), plan=plan())
    assert not listed["changed"]
    assert "in the archive (tracks_posts_separation_kept.archive); nothing was changed" in listed["msg"]
    assert any(line.startswith("1 of public.playlist_tracks: entry_without_post") for line in listed["summary"])
    assert run_module("pg_restore_archived", **which, _check=True)["rows_examined"] == 1
    assert value(options, "SELECT to_regclass('tracks_posts_separation_kept.archive') IS NOT NULL"), "looking moved it"
    refused = run_module("pg_restore_archived", **which)
    assert refused["failed"]
    assert 'is not present in table "posts"' in refused["msg"]
    query(options, "DROP SCHEMA tracks_posts_separation_kept CASCADE")
    nothing = run_module("pg_restore_archived", connection=dict(options), plan=plan())
    assert nothing["msg"] == (
        "nothing was archived: tracks_posts_separation.archive and tracks_posts_separation_kept.archive do not exist"
    )


def test_a_track_that_the_new_application_edited_is_kept_in_the_archive(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        insert_post(session, user, TWO)
        execute(session, "UPDATE public.tracks SET genre = 'folk', play_count = 3 WHERE id = %s", (post,))
    revert(options, FINALIZE, PLAYLISTS, MIGRATE)
    whole = [row for row in archived(options, "reverted_track") if row["user_id"] == user]
    assert {(row["id"], row["genre"], row["play_count"]) for row in whole} >= {(post, "folk", 3)}
    assert len(whole) == 2


def test_archived_rows_come_back_beside_columns_that_only_the_server_fills(database: Options) -> None:
    """Search columns and numbers are ordinary on such a schema, and a release between two runs adds required ones."""
    for name in ("tracks", "playlist_tracks"):
        query(
            database,
            sql.SQL(
                "ALTER TABLE public.{} ADD search tsvector GENERATED ALWAYS AS ('x'::tsvector) STORED,"
                " ADD number bigint GENERATED ALWAYS AS IDENTITY UNIQUE"
            ).format(sql.Identifier(name)),
        )
    apply(database, *VERSIONS)
    user = make_user(database)
    with application_session(database, user) as session:
        post, _ = insert_post(session, user, ONE)
        execute(session, "UPDATE public.tracks SET genre = 'folk' WHERE id = %s", (post,))
        library = execute(
            session,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'x', %s) RETURNING id",
            (user, TWO),
        )[0][0]
        entry, _ = add_entry(session, make_playlist(database, user), str(library))[0]
    numbers = (
        "SELECT (SELECT number FROM public.tracks WHERE id = %s), "
        "(SELECT number FROM public.playlist_tracks WHERE id = %s)"
    )
    before = query(database, numbers, (post, entry))
    revert(database, *VERSIONS)
    for name in ("tracks", "playlist_tracks"):
        query(
            database,
            sql.SQL(
                "ALTER TABLE public.{} ADD likes integer NOT NULL DEFAULT 0, ADD slug text NOT NULL DEFAULT"
                " gen_random_uuid()::text UNIQUE, ADD place integer GENERATED BY DEFAULT AS IDENTITY UNIQUE"
            ).format(sql.Identifier(name)),
        )
    apply(database, *VERSIONS)
    assert query(database, numbers, (post, entry)) == before
    assert query(database, "SELECT genre, likes, search IS NOT NULL FROM public.tracks WHERE id = %s", (post,)) == [
        ("folk", 0, True)
    ]


def test_the_application_writes_on_between_the_reverts(database_at: DatabaseAt) -> None:
    """After the revert of migration 2 the triggers of migration 1 are still there."""
    options = database_at(FINALIZE)
    user = make_user(options)
    revert(options, FINALIZE, PLAYLISTS)
    with application_session(options, user) as session:
        playlist = make_playlist(options, user)
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        add_entry(session, playlist, repost, 0)
        revert(options, MIGRATE)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
        late, given = insert_post(session, user, TWO)
        assert given == late
    assert entries(options, playlist) == [(repost, 0)]
    revert(options, PREPARE)
    assert query(options, "SELECT 1 FROM public.tracks WHERE user_id = %s", (user,)) == []
    assert len(query(options, "SELECT 1 FROM public.posts WHERE user_id = %s", (user,))) == 2
