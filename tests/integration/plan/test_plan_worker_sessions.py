"""A worker's session keeps the replica role from batch to batch: what keys and triggers promise holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg2
import pytest
from application import (
    assert_sound_after_migration_2,
    execute,
    in_background,
    make_user,
    tracks_of_user,
    wait_until_blocked,
)
from plan_sql import PREPARE, SETTINGS, apply_before_backfill, owner_session
from psycopg2.extensions import connection as Connection
from support.servers import Options, query, value
from test_plan_races import unmigrated_post

DatabaseAt = Callable[[str], Options]
BATCH = (
    "SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff')"
)
ROLE = "SELECT pg_catalog.current_setting('session_replication_role')"
COUNTED = """
    CREATE TABLE public.counted (id uuid);
    CREATE FUNCTION public.count_track() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.counted VALUES (NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER count_track AFTER INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.count_track()
"""
FURTHER_KEY = """
    CREATE TABLE public.license (id uuid PRIMARY KEY);
    ALTER TABLE public.tracks ADD COLUMN license_id uuid REFERENCES public.license (id);
    ALTER TABLE public.tracks ALTER COLUMN license_id SET DEFAULT '00000000-0000-0000-0000-000000000001'
"""


@pytest.fixture
def options(database_at: DatabaseAt) -> Options:
    """In the fill, and no post is migrated yet."""
    made = database_at(PREPARE)
    apply_before_backfill(made)
    return made


@pytest.fixture
def worker(options: Options) -> Iterator[Connection]:
    """A session as the runner opens it for a worker."""
    with owner_session(options, {**SETTINGS, "runbook.run_id": "run", "runbook.batch_session": "on"}) as connection:
        yield connection


def test_the_role_is_changed_once_and_stays(options: Options, worker: Connection) -> None:
    assert execute(worker, ROLE) == [("origin",)]
    assert execute(worker, BATCH)[0][0] > 0
    assert execute(worker, ROLE) == [("replica",)]
    assert_sound_after_migration_2(options)


def test_any_other_session_has_its_role_back(options: Options) -> None:
    with owner_session(options) as session:
        assert execute(session, BATCH)[0][0] > 0
        assert execute(session, ROLE) == [("origin",)]
    assert_sound_after_migration_2(options)


def test_a_trigger_of_the_deployment_on_tracks_sees_every_track(options: Options, worker: Connection) -> None:
    query(options, COUNTED)
    before = value(options, "SELECT count(*) FROM public.tracks")
    assert execute(worker, BATCH)[0][0] > 0
    assert execute(worker, ROLE) == [("origin",)]
    made = value(options, "SELECT count(*) FROM public.tracks") - before
    assert made > 0
    assert value(options, "SELECT count(*) FROM public.counted") == made


def test_a_trigger_made_between_two_batches_sees_every_track_since(options: Options, worker: Connection) -> None:
    half = "80000000-0000-0000-0000-000000000000"
    batch = "SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts(%s, %s)"
    assert execute(worker, batch, (None, half))[0][0] > 0
    assert execute(worker, ROLE) == [("replica",)]
    query(options, COUNTED)
    before = value(options, "SELECT count(*) FROM public.tracks")
    assert execute(worker, batch, (half, None))[0][0] > 0
    made = value(options, "SELECT count(*) FROM public.tracks") - before
    assert made > 0
    assert value(options, "SELECT count(*) FROM public.counted") == made


def test_a_further_key_of_tracks_is_checked(options: Options, worker: Connection) -> None:
    query(options, FURTHER_KEY)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="tracks_license_id_fkey"):
        execute(worker, BATCH)


def test_an_account_that_goes_takes_its_tracks_along(options: Options, worker: Connection) -> None:
    """The key of tracks does not look under the replica role: the batch has locked the account instead."""
    user = make_user(options)
    unmigrated_post(options, user)
    execute(worker, "BEGIN")
    execute(worker, BATCH)
    assert len(execute(worker, "SELECT id FROM public.tracks WHERE user_id = %s", (user,))) == 1
    with owner_session({**options, "user": "supabase_admin"}) as application:
        deleting = in_background(application, "DELETE FROM auth.users WHERE id = %s", (user,))
        wait_until_blocked(options, application, deleting)
        execute(worker, "COMMIT")
        deleting.finish()
    assert query(options, "SELECT id FROM public.profiles WHERE id = %s", (user,)) == []
    assert tracks_of_user(options, user) == []


def test_an_account_that_is_going_gets_no_track(options: Options, worker: Connection) -> None:
    user = make_user(options)
    unmigrated_post(options, user)
    with owner_session(options) as application:
        execute(application, "BEGIN")
        execute(application, "DELETE FROM public.profiles WHERE id = %s", (user,))
        batch = in_background(worker, BATCH)
        wait_until_blocked(options, worker, batch)
        execute(application, "COMMIT")
        batch.finish()
    assert tracks_of_user(options, user) == []
    orphans = "SELECT count(*) FROM public.tracks WHERE user_id NOT IN (SELECT id FROM public.profiles)"
    assert value(options, orphans) == 0
