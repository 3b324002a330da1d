"""The compatibility triggers run with their owner's rights: nothing that a caller brings along may run with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from application import execute, insert_post, make_user
from plan_sql import FINALIZE
from support.servers import Options, application_session, query

#: Temporary types are looked up before those of pg_catalog unless pg_temp stands last in search_path. The rule of a
#: domain is a place where the function of a caller would run.
TRAP = """
    CREATE FUNCTION pg_temp.note() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF current_user <> 'authenticated' THEN
            RAISE EXCEPTION 'the caller''s function ran as %', current_user;
        END IF;
        RETURN true;
    END $$;
    CREATE DOMAIN pg_temp.{type} AS pg_catalog.{base} CHECK (pg_temp.note());
"""


@pytest.fixture
def done(database_at: Callable[[str], Options]) -> Options:
    return database_at(FINALIZE)


@pytest.mark.parametrize("type_name", ["uuid", "text", "bool", "int8", "int4", "jsonb", "name"])
def test_a_temporary_type_of_the_caller_is_not_used(done: Options, type_name: str) -> None:
    user = make_user(done)
    with application_session(done, user) as session:
        execute(session, TRAP.format(type=type_name, base=type_name))
        post, given = insert_post(session, user, "https://cdn.example.org/one.mp3")
        execute(session, "UPDATE public.posts SET audio_url = audio_url || '2', content = 'x' WHERE id = %s", (post,))
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert given == post


def test_every_procedural_function_of_the_plan_has_pg_temp_last(done: Options) -> None:
    found = query(
        done,
        "SELECT p.proname, p.proconfig FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang"
        " WHERE p.pronamespace = 'tracks_posts_separation'::regnamespace AND l.lanname = 'plpgsql'",
    )
    assert len(found) > 10
    pinned = {f"search_path=pg_catalog, {helper}pg_temp" for helper in ("", "tracks_posts_separation, ")}
    wrong = [name for name, settings in found if not pinned & set(settings or [])]
    assert wrong == []
