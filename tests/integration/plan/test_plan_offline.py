"""The form for a maintenance window: it ends where the online form ends, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from application import assert_sound_after_migration_3, execute, make_user, post_values, tracks_of_user
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    apply,
    apply_before_backfill,
    catalogue,
    migrate_offline,
    owner_session,
    posts_without_track_id,
    schema_text,
    table,
)
from support.servers import Options, Server, load_demo, query, value

DatabaseAt = Callable[[str], Options]
CALL = "SELECT tracks_posts_separation.migrate_audio_posts_offline()"
ONE = "https://cdn.example.org/one.mp3"
TABLES = ("public.posts", "public.tracks", "public.playlist_tracks", "public.comments", "public.playlists")


def rows_and_catalogue(server: Server, options: Options) -> tuple[Any, ...]:
    return {name: table(options, name) for name in TABLES}, catalogue(options), schema_text(server, options)


def test_it_ends_where_the_online_form_ends(server: Server, database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    migrate_offline(options)
    assert rows_and_catalogue(server, options) == rows_and_catalogue(server, database_at(MIGRATE))
    apply(options, PLAYLISTS, FINALIZE)
    assert rows_and_catalogue(server, options) == rows_and_catalogue(server, database_at(FINALIZE))
    assert_sound_after_migration_3(options)


def test_it_leaves_alone_what_the_online_form_leaves_alone(server: Server, empty_database: Options) -> None:
    """Posts without a file, and those of nobody: both forms go round them, and the verification names them."""
    load_demo(empty_database, 200, dirty=True, user_keys=False, audio_fields_check=False)
    # A track under a post's id: the post's own gets a random one, in either form.
    query(empty_database, "DELETE FROM public.tracks WHERE id IN (SELECT id FROM public.posts)")
    apply(empty_database, PREPARE)
    online = server.create_database(str(empty_database["dbname"]))
    try:
        apply_before_backfill(online)
        with owner_session(online) as connection:
            execute(connection, "SELECT tracks_posts_separation.migrate_audio_posts(NULL, NULL)")
        migrate_offline(empty_database, up_to_the_call=True)
        left = "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL"
        assert value(empty_database, left) > 0
        for name in TABLES:
            assert table(empty_database, name) == table(online, name)
    finally:
        server.drop_database(online)


def test_nothing_of_a_post_changes_but_its_track(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    before = posts_without_track_id(options)
    migrate_offline(options)
    assert posts_without_track_id(options) == before


def test_tracks_that_triggers_made_meanwhile_are_taken(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    user = make_user(options)
    original, repost = post_values(user, ONE), post_values(user, ONE)
    with owner_session(options) as connection:
        execute(connection, "SET session_replication_role = replica")
        insert = (
            "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename, created_at)"
            " VALUES (%(id)s, %(user)s, %(content)s, 'audio', %(file)s, %(name)s, %(at)s)"
        )
        execute(connection, insert, original)
        execute(connection, "SET session_replication_role = origin")
        execute(connection, insert, repost)
    migrate_offline(options)
    assert tracks_of_user(options, user) == [(original["id"], ONE)]
    assert query(options, "SELECT DISTINCT track_id FROM public.posts WHERE user_id = %s", (user,)) == [
        (original["id"],)
    ]


def test_a_call_that_does_not_commit_leaves_nothing_behind(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    apply_before_backfill(options)
    before = {name: table(options, name) for name in TABLES}, catalogue(options)
    with owner_session(options) as connection:
        execute(connection, "BEGIN")
        assert execute(connection, CALL)[0][0] == 300
        execute(connection, "ROLLBACK")
    assert ({name: table(options, name) for name in TABLES}, catalogue(options)) == before
    migrate_offline(options)
    assert {name: table(options, name) for name in TABLES} == {
        name: table(database_at(MIGRATE), name) for name in TABLES
    }


def test_a_second_call_moves_nothing(database_at: DatabaseAt) -> None:
    options = database_at(MIGRATE)
    before = {name: table(options, name) for name in TABLES}, catalogue(options)
    assert value(options, CALL) == 0
    migrate_offline(options)
    assert ({name: table(options, name) for name in TABLES}, catalogue(options)) == before


def test_it_waits_for_who_is_still_there(database_at: DatabaseAt) -> None:
    """The window is announced, not assumed: a session that still reads is waited for, and named by a lock_timeout."""
    options = database_at(PREPARE)
    apply_before_backfill(options)
    with owner_session(options) as reader, owner_session(options) as runner:
        execute(reader, "BEGIN")
        execute(reader, "SELECT 1 FROM public.posts LIMIT 1")
        execute(runner, "SET lock_timeout = '200ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            execute(runner, CALL)
        execute(reader, "COMMIT")
        assert execute(runner, CALL)[0][0] == 300


def test_row_triggers_of_a_deployment_on_tracks_still_fire(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    query(
        options,
        "CREATE FUNCTION public.count_track() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO public.counted VALUES (NEW.id); RETURN NULL; END $$;"
        " CREATE TABLE public.counted (id uuid);"
        " CREATE TRIGGER count_track AFTER INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.count_track()",
    )
    before = value(options, "SELECT count(*) FROM public.tracks")
    migrate_offline(options)
    made = value(options, "SELECT count(*) FROM public.tracks") - before
    assert made > 0
    assert value(options, "SELECT count(*) FROM public.counted") == made


def test_an_index_and_a_key_of_before_stay_where_they_are(empty_database: Options) -> None:
    """A deployment that had the column with both: the online function does the work, in one transaction."""
    load_demo(empty_database, 50)
    query(
        empty_database,
        "ALTER TABLE public.posts ADD COLUMN track_id uuid"
        " CONSTRAINT posts_track_id_fkey REFERENCES public.tracks (id);"
        " CREATE INDEX idx_posts_track_id ON public.posts (track_id)",
    )
    files = "SELECT oid FROM pg_class WHERE relname = 'idx_posts_track_id'"
    before = query(empty_database, files)
    apply(empty_database, PREPARE)
    migrate_offline(empty_database)
    apply(empty_database, PLAYLISTS, FINALIZE)
    assert query(empty_database, files) == before
    assert_sound_after_migration_3(empty_database)
