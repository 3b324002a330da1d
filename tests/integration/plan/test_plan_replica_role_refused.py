"""Where session_replication_role may not be set, the triggers are quiet for a batch by a condition of their own."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
from application import assert_sound_after_migration_3, execute, insert_post, make_user, tracks_of_user
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    VERSIONS,
    apply,
    catalogue,
    owner_session,
    posts_without_track_id,
    revert,
    schema_text,
    table,
)
from support.servers import Options, Server, application_session, query, value

ONE = "https://cdn.example.org/one.mp3"
DEFINITIONS = (
    "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'public.posts'::regclass AND "
    "NOT tgisinternal"
)


@pytest.fixture(autouse=True)
def refused(server: Server) -> Iterator[None]:
    query(server.superuser_options, "REVOKE SET ON PARAMETER session_replication_role FROM postgres")
    yield
    query(server.superuser_options, "GRANT SET ON PARAMETER session_replication_role TO postgres")


@pytest.fixture
def options(database: Options) -> Options:
    """With two more triggers of somebody's: one for several events, one with a condition of its own."""
    query(
        database,
        """
        CREATE TABLE public.seen (event text);
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.seen VALUES (TG_NAME || '' '' || TG_OP); RETURN NULL; END';
        CREATE TRIGGER note_all AFTER INSERT OR UPDATE ON public.posts FOR EACH ROW EXECUTE FUNCTION public.note();
        CREATE TRIGGER note_some AFTER UPDATE ON public.posts FOR EACH ROW
            WHEN (OLD.content IS DISTINCT FROM NEW.content OR OLD.track_id_is_not_there_yet IS NULL)
            EXECUTE FUNCTION public.note();
        """.replace(" OR OLD.track_id_is_not_there_yet IS NULL", " OR OLD.user_id = NEW.user_id"),
    )
    return database


def test_the_right_is_really_refused(options: Options) -> None:
    with owner_session(options) as connection, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(connection, "SET session_replication_role = replica")


def test_posts_are_as_they_were_and_the_triggers_come_back(server: Server, options: Options) -> None:
    posts, triggers = posts_without_track_id(options), dict(query(options, DEFINITIONS))
    apply(options, PREPARE)
    assert value(options, "SELECT value FROM tracks_posts_separation.setting WHERE name = 'replica_role'") == "false"
    quiet = dict(query(options, DEFINITIONS))
    for name in triggers:
        assert "tracks_posts_separation.batch" in quiet[name]
    apply(options, MIGRATE, PLAYLISTS)
    assert posts_without_track_id(options) == posts
    assert query(options, "SELECT * FROM public.seen") == []
    assert_sound_after_migration_3(options)
    apply(options, FINALIZE)
    after = dict(query(options, DEFINITIONS))
    assert {name: after[name] for name in triggers} == triggers


def test_the_applications_own_updates_still_fire_them(options: Options) -> None:
    apply(options, PREPARE)
    user = make_user(options)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        execute(session, "SELECT set_config('tracks_posts_separation.batch', 'on', false)")
        execute(session, "UPDATE public.posts SET content = 'edited' WHERE id = %s", (post,))
        ((edited,),) = execute(session, "SELECT updated_at > '2025-01-02' FROM public.posts WHERE id = %s", (post,))
    assert edited
    assert tracks_of_user(options, user) == [(post, ONE)]
    assert sorted(query(options, "SELECT event FROM public.seen")) == [
        ("note_all INSERT",),
        ("note_all UPDATE",),
        ("note_some UPDATE",),
    ]


@pytest.mark.parametrize("last", VERSIONS)
def test_reverts_bring_triggers_and_rows_back(server: Server, options: Options, last: str) -> None:
    before = (
        schema_text(server, options),
        catalogue(options),
        table(options, "public.posts"),
        table(options, "public.tracks"),
    )
    applied = [version for version in VERSIONS if version <= last]
    apply(options, *applied)
    revert(options, *applied)
    # Whole tracks that went are kept beside, in a schema that is no part of the state before (decision 15).
    if MIGRATE in applied:
        assert query(options, "SELECT DISTINCT reason FROM tracks_posts_separation_kept.archive") == [
            ("reverted_track",)
        ]
        query(options, "DROP SCHEMA tracks_posts_separation_kept CASCADE")
    assert (
        schema_text(server, options),
        catalogue(options),
        table(options, "public.posts"),
        table(options, "public.tracks"),
    ) == before
