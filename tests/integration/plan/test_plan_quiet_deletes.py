"""A reverse deletes tracks without the triggers that would look after them: what those promise holds all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg2
import pytest
from application import archived, execute, in_background, insert_post, make_user, track_of, wait_until_blocked
from plan_sql import MIGRATE, SETTINGS, make_revert_functions, owner_session
from psycopg2.extensions import connection as Connection
from support.servers import Options, query, value

DatabaseAt = Callable[[str], Options]
BATCH = (
    "SELECT rows_moved FROM tracks_posts_separation.unmigrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff')"
)
ROLE = "SELECT pg_catalog.current_setting('session_replication_role')"
MADE = "SELECT count(*) FROM public.tracks AS t WHERE EXISTS (SELECT FROM public.posts AS p WHERE p.id = t.id)"
POINTS = "UPDATE public.posts SET track_id = %s WHERE id = %s"
ORPHANS = (
    "SELECT count(*) FROM public.posts AS p WHERE p.track_id IS NOT NULL"
    " AND NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = p.track_id)"
)
COUNTED = """
    CREATE TABLE public.counted (id uuid);
    CREATE FUNCTION public.count_track() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.counted VALUES (OLD.id); RETURN NULL; END $$;
    CREATE TRIGGER count_track AFTER DELETE ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.count_track()
"""
FURTHER_KEY = "CREATE TABLE public.review (track_id uuid REFERENCES public.tracks (id) ON DELETE CASCADE)"


@pytest.fixture
def options(database_at: DatabaseAt) -> Options:
    """After migration 2, in the first steps of a reverse."""
    found = database_at(MIGRATE)
    make_revert_functions(found)
    return found


@pytest.fixture
def worker(options: Options) -> Iterator[Connection]:
    """A session as the runner opens it for a worker."""
    with owner_session(options, {**SETTINGS, "runbook.run_id": "run", "runbook.batch_session": "on"}) as connection:
        yield connection


@pytest.fixture
def lent(options: Options) -> tuple[str, str]:
    """A track that was made from a post, and a text post of the same user that does not point at it yet."""
    user = make_user(options)
    with owner_session(options) as session:
        post, made = insert_post(session, user)
        text = execute(
            session,
            "INSERT INTO public.posts (user_id, content, post_type) VALUES (%s, 'look', 'text') RETURNING id::text",
            (user,),
        )[0][0]
    assert made == post
    return post, str(text)


def test_the_role_is_changed_once_and_every_track_goes(options: Options, worker: Connection) -> None:
    made = value(options, MADE)
    assert execute(worker, ROLE) == [("origin",)]
    assert execute(worker, BATCH)[0][0] > 0
    assert execute(worker, ROLE) == [("replica",)]
    assert value(options, MADE) == 0
    assert len(archived(options, "reverted_track")) == made > 0
    assert value(options, ORPHANS) == 0


def test_any_other_session_has_its_role_back(options: Options) -> None:
    with owner_session(options) as session:
        assert execute(session, BATCH)[0][0] > 0
        assert execute(session, ROLE) == [("origin",)]
    assert value(options, MADE) == 0


def test_a_trigger_of_the_deployment_sees_every_track_go(options: Options, worker: Connection) -> None:
    query(options, COUNTED)
    made = value(options, MADE)
    assert execute(worker, BATCH)[0][0] > 0
    assert execute(worker, ROLE) == [("origin",)]
    assert value(options, "SELECT count(*) FROM public.counted") == made > 0


def test_a_trigger_made_between_two_batches_sees_every_track_go_since(options: Options, worker: Connection) -> None:
    half = "80000000-0000-0000-0000-000000000000"
    batch = "SELECT rows_moved FROM tracks_posts_separation.unmigrate_audio_posts(%s, %s)"
    assert execute(worker, batch, (None, half))[0][0] > 0
    assert execute(worker, ROLE) == [("replica",)]
    query(options, COUNTED)
    left = value(options, MADE)
    assert execute(worker, batch, (half, None))[0][0] > 0
    assert value(options, "SELECT count(*) FROM public.counted") == left - value(options, MADE) > 0


def test_beside_a_further_key_to_tracks_every_trigger_looks(options: Options, worker: Connection) -> None:
    query(options, FURTHER_KEY)
    assert execute(worker, BATCH)[0][0] > 0
    assert execute(worker, ROLE) == [("origin",)]
    assert value(options, MADE) == 0


def test_a_track_that_somebody_points_at_meanwhile_stays(
    options: Options, worker: Connection, lent: tuple[str, str]
) -> None:
    made, text = lent
    with owner_session(options) as session:
        execute(session, "BEGIN")
        execute(session, POINTS, (made, text))
        batch = in_background(worker, BATCH)
        assert wait_until_blocked(options, worker, batch) == [session.info.backend_pid]
        execute(session, "COMMIT")
        batch.finish()
    assert query(options, "SELECT id::text FROM public.tracks WHERE id = %s", (made,)) == [(made,)]
    assert track_of(options, text) == made
    assert value(options, ORPHANS) == 0


def test_who_points_at_a_track_that_is_going_waits_and_is_refused(
    options: Options, worker: Connection, lent: tuple[str, str]
) -> None:
    made, text = lent
    execute(worker, "BEGIN")
    execute(worker, BATCH)
    with owner_session(options) as session:
        pointing = in_background(session, POINTS, (made, text))
        wait_until_blocked(options, session, pointing)
        execute(worker, "COMMIT")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="posts_track_id_fkey"):
            pointing.finish()
    assert query(options, "SELECT id FROM public.tracks WHERE id = %s", (made,)) == []
    assert value(options, ORPHANS) == 0
