"""Triggers, checks and defaults of the deployment run as in a session of the application, whoever makes them run."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
import pytest
from ansible.module_utils.runbook.database.deployment_path import use_deployment_path
from application import add_entry, execute, insert_post, make_playlist, make_user, tracks_of_user
from plan_sql import (
    FINALIZE,
    PREPARE,
    VERSIONS,
    apply,
    migrate_offline,
    owner_session,
    plan,
    revert,
    run_step,
    steps_of,
)
from support.modules import run_module
from support.servers import Options, application_session, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"

#: The case as it was met: no schema before the table.
GENRES = """
    SET ROLE postgres;
    CREATE TABLE public.genres (name text);
    GRANT ALL ON public.genres TO authenticated;
    CREATE FUNCTION public.count_track() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO genres VALUES ('x'); RETURN NEW; END $$;
    CREATE TRIGGER count_track BEFORE INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.count_track();
"""
#: Other names that a path resolves: types, functions, operators, regclass; in public and in a schema of its own.
NAMES = """
    CREATE SCHEMA extensions;
    GRANT USAGE ON SCHEMA extensions TO postgres, authenticated;
    ALTER DATABASE {database} SET search_path = "$user", public, extensions;
    CREATE FUNCTION extensions.slug(given text) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.lower($1)';
    CREATE FUNCTION extensions.same_slug(a text, b text) RETURNS boolean LANGUAGE sql
        AS 'SELECT pg_catalog.lower($1) OPERATOR(pg_catalog.=) pg_catalog.lower($2)';
    CREATE OPERATOR extensions.=== (FUNCTION = extensions.same_slug, LEFTARG = text, RIGHTARG = text);
    SET ROLE postgres;
    CREATE TYPE public.mood AS ENUM ('calm');
    CREATE TABLE public.seen (what text, mood public.mood);
    GRANT ALL ON public.seen TO authenticated;
    CREATE FUNCTION public.note(what text) RETURNS void LANGUAGE plpgsql AS
    $$ DECLARE feels mood := 'calm'; BEGIN
        IF 'seen'::regclass IS NULL OR NOT slug(what) === upper(what) THEN RAISE EXCEPTION 'never'; END IF;
        INSERT INTO seen VALUES (what, feels);
    END $$;
    CREATE FUNCTION public.note_row() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM note(TG_TABLE_NAME || ' ' || TG_NAME || ' ' || TG_OP); RETURN NULL; END $$;
    CREATE TRIGGER at_once AFTER INSERT OR UPDATE OR DELETE ON public.tracks
        FOR EACH ROW EXECUTE FUNCTION public.note_row();
    CREATE TRIGGER at_once AFTER INSERT OR UPDATE OR DELETE ON public.playlist_tracks
        FOR EACH ROW EXECUTE FUNCTION public.note_row();
    CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT OR UPDATE OR DELETE ON public.tracks
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.note_row();
    CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT OR UPDATE OR DELETE ON public.playlist_tracks
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.note_row();
    CREATE FUNCTION public.is_title(given text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RETURN slug(given) IS NOT NULL; END $$;
    CREATE FUNCTION public.some_mood() RETURNS public.mood LANGUAGE plpgsql AS $$ BEGIN RETURN 'calm'::mood; END $$;
    ALTER TABLE public.tracks ADD CONSTRAINT title_has_slug CHECK (public.is_title(title));
    ALTER TABLE public.tracks ADD mood public.mood DEFAULT public.some_mood();
    ALTER TABLE public.posts ADD CONSTRAINT content_has_slug CHECK (public.is_title(content));
"""
SEEN = "SELECT DISTINCT what FROM public.seen"


def as_superuser(options: Options, statements: str) -> None:
    with owner_session({**options, "user": "supabase_admin"}, {"search_path": "public,extensions"}) as session:
        execute(session, statements)


def with_names(options: Options) -> None:
    as_superuser(options, NAMES.replace("{database}", f'"{options["dbname"]}"'))


def use(options: Options) -> None:
    """What the old application does with posts and entries; each reaches another writing function of ours."""
    user = make_user(options)
    playlist = make_playlist(options, user)
    with application_session(options, user) as session:
        post, _ = insert_post(session, user, ONE)
        repost, _ = insert_post(session, user, ONE)
        add_entry(session, playlist, post)
        execute(session, "UPDATE public.posts SET content = 'edited' WHERE id = %s", (post,))
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, post))
        execute(session, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, repost))
        execute(session, "DELETE FROM public.posts WHERE user_id = %s", (user,))
    assert tracks_of_user(options, user) == []


def test_uploads_go_on_beside_a_trigger_that_names_no_schema(database: Options) -> None:
    as_superuser(database, GENRES)
    apply(database, PREPARE)
    use(database)
    assert value(database, "SELECT count(*) FROM public.genres") > 0
    apply(database, *VERSIONS[1:])
    use(database)
    made = value(database, "SELECT count(*) FROM public.genres")
    assert made >= 200
    revert(database, *VERSIONS)
    apply(database, *VERSIONS)
    assert value(database, "SELECT count(*) FROM public.genres") > made


@pytest.mark.parametrize("way", ["online", "offline", "replica role refused"])
def test_every_name_is_found_where_the_application_finds_it(database: Options, way: str) -> None:
    with_names(database)
    if way == "replica role refused":
        superuser = {**database, "user": "supabase_admin"}
        query(superuser, "REVOKE SET ON PARAMETER session_replication_role FROM postgres")
    try:
        apply(database, PREPARE)
        if way == "offline":
            migrate_offline(database)
        else:
            apply(database, VERSIONS[1])
        apply(database, *VERSIONS[2:])
        use(database)
        seen = {what for (what,) in query(database, SEEN)}
        for table in ("tracks", "playlist_tracks"):
            for trigger in ("at_once", "at_the_end"):
                assert {f"{table} {trigger} INSERT", f"{table} {trigger} UPDATE"} <= seen, seen
        query(database, "TRUNCATE public.seen")
        revert(database, *VERSIONS)
        seen = {what for (what,) in query(database, SEEN)}
        assert {"tracks at_once DELETE", "tracks at_the_end DELETE", "playlist_tracks at_the_end INSERT"} <= seen, seen
    finally:
        if way == "replica role refused":
            query(superuser, "GRANT SET ON PARAMETER session_replication_role TO postgres")


def path_of(options: Options) -> str:
    return str(value(options, "SELECT tracks_posts_separation.deployment_path()"))


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ("", "public, pg_temp"),
        ('ALTER DATABASE {database} SET search_path = "$user", public, extensions', "public, extensions, pg_temp"),
        ("ALTER ROLE authenticator IN DATABASE {database} SET search_path = 'App', public", '"App", public, pg_temp'),
        ("ALTER ROLE postgres IN DATABASE {database} SET search_path = extensions", "extensions, public, pg_temp"),
        ("ALTER ROLE moderation_admin IN DATABASE {database} SET search_path = extensions", "public, pg_temp"),
        ("ALTER DATABASE {database} SET search_path = pg_temp, pg_catalog, no_such_schema", "public, pg_temp"),
        (
            "ALTER DATABASE {database} SET search_path = pg_temp, pg_catalog, extensions, public",
            "extensions, public, pg_temp",
        ),
    ],
)
def test_the_path_is_that_of_the_applications_sessions(database: Options, settings: str, path: str) -> None:
    as_superuser(
        database,
        'CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO postgres; CREATE SCHEMA "App";'
        ' GRANT USAGE ON SCHEMA "App" TO postgres;' + settings.replace("{database}", f'"{database["dbname"]}"'),
    )
    with owner_session(database) as session:
        for step in steps_of(PREPARE):
            run_step(session, step)
            if step.name.startswith("record the search_path"):
                break
        assert path_of(database) == path
        # What the runner's own writes use says the same.
        execute(session, "BEGIN")
        with session.cursor() as cursor:
            assert use_deployment_path(cursor, ["public.posts", "public.tracks"]) == quoted(path)
        assert execute(session, "SHOW search_path") == [(quoted(path),)]


def quoted(path: str) -> str:
    return ", ".join('"' + name.strip('"') + '"' for name in path.split(", "))


def test_repairs_and_restored_rows_run_foreign_triggers_where_they_find_their_names(database: Options) -> None:
    with_names(database)
    query(database, "DELETE FROM public.playlist_tracks")
    places = "ADD CONSTRAINT places UNIQUE (playlist_id, position) DEFERRABLE INITIALLY DEFERRED"
    query(database, f"ALTER TABLE public.playlist_tracks {places}")
    user = make_user(database)
    playlist = make_playlist(database, user)
    ((text,),) = query(
        database,
        "INSERT INTO public.posts (user_id, content, post_type) VALUES (%s, 'x', 'text') RETURNING id::text",
        (user,),
    )
    with application_session(database, user) as session:
        add_entry(session, playlist, text)
    query(database, "TRUNCATE public.seen")
    given = {"connection": dict(database), "plan": plan()}
    repaired = run_module("pg_repair", **given, issue="playlist_references", apply=True)
    assert (repaired["failed"], repaired.get("rows_archived")) == (False, 1), repaired["msg"]
    restored = run_module("pg_restore_archived", **given, archived_by=repaired["repair_id"])
    assert (restored["failed"], restored.get("rows_restored")) == (False, 1), restored["msg"]
    seen = {what for (what,) in query(database, SEEN)}
    assert {
        f"playlist_tracks {name} {done}" for name in ("at_once", "at_the_end") for done in ("DELETE", "INSERT")
    } <= seen

    # A row whose place is taken stays in the archive, and the others go back.
    repaired = run_module("pg_repair", **given, issue="playlist_references", apply=True)
    ((audio,),) = query(database, "SELECT id::text FROM public.posts WHERE post_type = 'audio' LIMIT 1")
    with application_session(database, user) as session:
        add_entry(session, playlist, audio)
    refused = run_module("pg_restore_archived", **given, archived_by=repaired["repair_id"])
    assert refused["failed"]
    assert 'violates unique constraint "places"' in refused["msg"]


def test_a_caller_cannot_put_his_own_names_before_those_of_the_deployment(database: Options) -> None:
    as_superuser(database, GENRES)
    apply(database, PREPARE)
    user = make_user(database)
    with application_session(database, user) as session:
        execute(
            session,
            "CREATE TEMPORARY TABLE genres (name text);"
            "CREATE FUNCTION pg_temp.loot() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;"
            "CREATE TRIGGER loot BEFORE INSERT ON pg_temp.genres FOR EACH ROW EXECUTE FUNCTION pg_temp.loot();"
            "SET search_path = pg_temp, public",
        )
        insert_post(session, user, ONE)
        execute(session, "RESET search_path")
    assert value(database, "SELECT count(*) FROM public.genres") == 1


def test_the_callers_path_is_his_own_behind_our_triggers(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    user = make_user(options)
    with application_session(options, user) as session:
        execute(session, "BEGIN; SET LOCAL search_path = pg_temp, public")
        insert_post(session, user, ONE)
        assert execute(session, "SHOW search_path") == [("pg_temp, public",)]
        execute(session, "COMMIT")


def test_a_function_of_the_deployment_that_fails_says_so_itself(database: Options) -> None:
    as_superuser(database, GENRES + "DROP TABLE public.genres;")
    apply(database, PREPARE)
    user = make_user(database)
    with (
        application_session(database, user) as session,
        pytest.raises(psycopg2.errors.UndefinedTable, match='relation "genres" does not exist'),
    ):
        insert_post(session, user, ONE)
