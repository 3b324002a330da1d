"""A reverse beside other tables that reference tracks: every made track goes, and no row of theirs does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.errors import ROWS_OF_OTHERS
from ansible.module_utils.runbook.plan.loader import plan_hash
from application import add_entry, execute, in_background, insert_post, make_playlist, make_user, wait_until_blocked
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAN_DIRECTORY,
    PLAYLISTS,
    PREPARE,
    SETTINGS,
    VERSIONS,
    make_revert_functions,
    owner_session,
    plan,
    revert,
)
from psycopg2 import DatabaseError
from support.modules import run_module
from support.servers import Options, query, value

DatabaseAt = Callable[[str], Options]
BATCH = "SELECT rows_moved FROM tracks_posts_separation.unmigrate_audio_posts(%s, %s)"
WHOLE = (None, "ffffffff-ffff-ffff-ffff-ffffffffffff")
LOW, MIDDLE, HIGH = (f"{digit}0000000-0000-4000-8000-000000000000" for digit in "17f")
MADE = "SELECT count(*) FROM tracks_posts_separation.made_track"
EMPTY = "CREATE TABLE public.saved (track_id uuid REFERENCES public.tracks ON DELETE CASCADE)"
SOME = "SELECT id FROM public.posts WHERE id = track_id ORDER BY id LIMIT 3"

#: Each makes a table of somebody else that references three made tracks. Table, what would become of its rows, SQL.
REFERENCING = {
    "cascade": (
        "public.saved",
        "3 rows of public.saved would be deleted",
        f"{EMPTY}; INSERT INTO public.saved {SOME}",
    ),
    "set null, deferrable": (
        "public.saved",
        "3 rows of public.saved would be set to null",
        "CREATE TABLE public.saved (track_id uuid REFERENCES public.tracks ON DELETE SET NULL"
        f" DEFERRABLE INITIALLY DEFERRED); INSERT INTO public.saved {SOME}",
    ),
    "set default": (
        "public.saved",
        "3 rows of public.saved would be set to their default",
        "CREATE TABLE public.saved (track_id uuid DEFAULT NULL REFERENCES public.tracks ON DELETE SET DEFAULT);"
        f"INSERT INTO public.saved {SOME}",
    ),
    "restrict": (
        "public.saved",
        "3 rows of public.saved would make it fail",
        f"CREATE TABLE public.saved (track_id uuid REFERENCES public.tracks ON DELETE RESTRICT);"
        f"INSERT INTO public.saved {SOME}",
    ),
    "no action, not valid": (
        "public.saved",
        "3 rows of public.saved would make it fail",
        f"CREATE TABLE public.saved (track_id uuid); INSERT INTO public.saved {SOME};"
        "ALTER TABLE public.saved ADD FOREIGN KEY (track_id) REFERENCES public.tracks NOT VALID",
    ),
    "other schema, mixed case": (
        'other."Saved Track"',
        'other."Saved Track" would be deleted',
        "CREATE SCHEMA other;"
        'CREATE TABLE other."Saved Track" ("Track" uuid REFERENCES public.tracks ON DELETE CASCADE);'
        f'INSERT INTO other."Saved Track" {SOME}',
    ),
    "partitions": (
        "public.played",
        "3 rows of public.played would be deleted",
        "CREATE TABLE public.played (track_id uuid REFERENCES public.tracks ON DELETE CASCADE, day int)"
        " PARTITION BY LIST (day); CREATE TABLE public.played_1 PARTITION OF public.played FOR VALUES IN (1);"
        f"INSERT INTO public.played SELECT id, 1 FROM ({SOME}) AS three",
    ),
    "two columns": (
        "public.saved",
        "3 rows of public.saved would be deleted",
        "ALTER TABLE public.tracks ADD UNIQUE (user_id, id);"
        "CREATE TABLE public.saved (owner uuid, track uuid, FOREIGN KEY (track, owner)"
        " REFERENCES public.tracks (id, user_id) ON DELETE CASCADE);"
        f"INSERT INTO public.saved SELECT user_id, id FROM public.tracks WHERE id IN ({SOME})",
    ),
    "another column of a table of the plan": (
        "public.playlists",
        "1 row of public.playlists would be set to null",
        "ALTER TABLE public.playlists ADD cover_track uuid REFERENCES public.tracks ON DELETE SET NULL;"
        f"UPDATE public.playlists SET cover_track = (SELECT min(id::text)::uuid FROM ({SOME}) AS three)"
        " WHERE id = (SELECT min(id::text)::uuid FROM public.playlists)",
    ),
    "not readable": (
        "hidden.saved",
        "rows of hidden.saved, which postgres may not count, would be deleted",
        "CREATE SCHEMA hidden; CREATE TABLE hidden.saved (track_id uuid REFERENCES public.tracks ON DELETE CASCADE);"
        f"INSERT INTO hidden.saved {SOME}",
    ),
}


def as_admin(options: Options, statement: str) -> None:
    query({**options, "user": "supabase_admin"}, statement)


@pytest.fixture
def options(database_at: DatabaseAt) -> Options:
    """After migration 2, in the first steps of its reverse."""
    found = database_at(MIGRATE)
    make_revert_functions(found)
    return found


@pytest.fixture
def worker(options: Options) -> Iterator[Any]:
    """A session as the runner opens it for a worker."""
    with owner_session(options, {**SETTINGS, "runbook.run_id": "run", "runbook.batch_session": "on"}) as connection:
        yield connection


@pytest.mark.parametrize("key", [EMPTY, "SELECT"], ids=["an empty table references tracks", "none does"])
def test_of_two_batches_with_posts_of_one_file_the_second_takes_the_track(
    options: Options, worker: Any, key: str
) -> None:
    user = make_user(options)
    with owner_session(options) as session:
        _, track = insert_post(session, user, id=LOW)
        insert_post(session, user, id=HIGH)
    query(options, key)
    with owner_session(options, {**SETTINGS, "runbook.batch_session": "on"}) as other:
        execute(worker, "BEGIN")
        execute(worker, BATCH, (None, MIDDLE))
        second = in_background(other, BATCH, (MIDDLE, WHOLE[1]))
        assert wait_until_blocked(options, other, second) == [worker.info.backend_pid]
        execute(worker, "COMMIT")
        second.finish()

    assert query(options, "SELECT id FROM public.tracks WHERE id = %s", (track,)) == []
    assert value(options, MADE) == 0


@pytest.mark.parametrize("case", REFERENCING)
def test_a_batch_refuses_to_touch_rows_of_other_tables(options: Options, worker: Any, case: str) -> None:
    table, said, statements = REFERENCING[case]
    (as_admin if "hidden" in table else query)(options, statements)
    rows, made = "SELECT count(*) FROM public.posts WHERE track_id IS NOT NULL", value(options, MADE)
    before = value(options, rows)

    with pytest.raises(DatabaseError) as refused:
        execute(worker, BATCH, WHOLE)

    found = refused.value.diag
    assert found.sqlstate == ROWS_OF_OTHERS
    assert (found.message_primary or "").startswith(
        "other tables reference rows of public.tracks that are to be deleted: "
    )
    assert said in (found.message_primary or "")
    assert f"{found.schema_name}.{found.table_name}" == table.replace('"', "")
    assert (value(options, rows), value(options, MADE)) == (before, made)
    if "hidden" in table:
        assert "GRANT USAGE ON SCHEMA hidden TO postgres" in (found.message_hint or "")
    else:
        assert len(query(options, found.message_hint or "")) == (1 if "playlists" in table else 3)


def test_rows_that_reference_other_tracks_are_nobodys_business(options: Options, worker: Any) -> None:
    user = make_user(options)
    query(options, EMPTY)
    uploaded = (
        "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', 'https://x/own.mp3') RETURNING id"
    )
    (upload,) = query(options, uploaded, (user,))[0]
    query(options, "INSERT INTO public.saved VALUES (%s)", (upload,))

    assert execute(worker, BATCH, WHOLE)[0][0] > 0
    assert query(options, "SELECT track_id FROM public.saved") == [(upload,)]
    assert value(options, MADE) == 0


def test_a_row_that_arrives_before_the_batch_has_its_locks_is_found(options: Options, worker: Any) -> None:
    query(options, EMPTY)
    with owner_session(options) as somebody:
        execute(somebody, "BEGIN")
        execute(somebody, f"INSERT INTO public.saved {SOME}")
        batch = in_background(worker, BATCH, WHOLE)
        assert wait_until_blocked(options, worker, batch) == [somebody.info.backend_pid]
        execute(somebody, "COMMIT")
        with pytest.raises(DatabaseError, match=r"3 rows of public\.saved would be deleted"):
            batch.finish()


def test_a_key_that_is_added_during_a_batch_waits_for_it(options: Options, worker: Any) -> None:
    last = SOME.replace("ORDER BY id", "ORDER BY id DESC")
    query(options, f"CREATE TABLE public.saved (track_id uuid); INSERT INTO public.saved {last}")
    execute(worker, "BEGIN")
    execute(worker, BATCH, (None, LOW))
    with owner_session(options) as somebody:
        adding = in_background(
            somebody, "ALTER TABLE public.saved ADD CONSTRAINT late FOREIGN KEY (track_id) REFERENCES public.tracks"
        )
        assert wait_until_blocked(options, somebody, adding) == [worker.info.backend_pid]
        execute(worker, "COMMIT")
        adding.finish()
    with pytest.raises(DatabaseError, match=r"3 rows of public\.saved would make it fail"):
        execute(worker, BATCH, (LOW, WHOLE[1]))


def test_a_track_that_a_deleted_repost_left_behind_goes_too(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    post, user, file = query(
        options, "SELECT id::text, user_id::text, audio_url FROM public.posts WHERE post_type = 'audio' LIMIT 1"
    )[0]
    tracks = value(options, "SELECT count(*) FROM public.tracks")
    with owner_session(options) as session:
        repost, track = insert_post(session, user, file)
        assert track == post
        execute(session, "DELETE FROM public.posts WHERE id = %s", (repost,))
    assert value(options, "SELECT count(*) FROM public.tracks") == tracks + 1

    revert(options, PREPARE)
    assert value(options, "SELECT count(*) FROM public.tracks") == tracks


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            "entry uuid REFERENCES public.playlist_tracks ON DELETE CASCADE",
            "1 row of public.note would be deleted",
        ),
        (
            "playlist uuid, track uuid, FOREIGN KEY (playlist, track) REFERENCES public.playlist_tracks"
            " (playlist_id, track_id) ON UPDATE SET NULL",
            "1 row of public.note would be set to null",
        ),
    ],
)
def test_entries_of_playlists_take_no_rows_of_others_with_them(
    database_at: DatabaseAt, columns: str, said: str
) -> None:
    options = database_at(PLAYLISTS)
    user = make_user(options)
    uploaded = (
        "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', 'https://x/own.mp3') RETURNING id"
    )
    with owner_session(options) as session:
        playlist = make_playlist(options, user)
        ((entry, track),) = add_entry(session, playlist, str(execute(session, uploaded, (user,))[0][0]))
    query(options, f"CREATE TABLE public.note ({columns})")
    given = (entry,) if columns.startswith("entry") else (playlist, track)
    query(options, f"INSERT INTO public.note VALUES ({', '.join(['%s'] * len(given))})", given)
    before = query(options, "SELECT id, track_id FROM public.playlist_tracks ORDER BY id")

    with pytest.raises(DatabaseError, match=said) as refused:
        revert(options, PLAYLISTS)
    assert refused.value.pgcode == ROWS_OF_OTHERS
    assert query(options, "SELECT id, track_id FROM public.playlist_tracks ORDER BY id") == before
    assert len(query(options, refused.value.diag.message_hint or "")) >= 1


# --- the assessment, and the module that reverses -------------------------------------------------------------------


@pytest.fixture
def applied(database_at: DatabaseAt) -> Options:
    """All migrations applied, as history and nothing else says."""
    options = database_at(FINALIZE)
    query(
        options,
        "INSERT INTO supabase_migrations.schema_migrations (version) SELECT unnest(%s) RETURNING version",
        (list(VERSIONS),),
    )
    done = run_module(
        "pg_change_log", connection=dict(options), tables=plan()["protected_tables"], kept=plan()["change_log"]
    )
    assert not done["failed"], done["msg"]
    return options


def assess(options: Options, directory: Path, **more: Any) -> dict[str, Any]:
    run = {
        "id": "20260101T000000Z-abcdef",
        "directory": str(directory),
        "plan_hash": plan_hash(plan()["directory"]),
        "environment": "local",
        "host": "test_database",
        "state": "complete",
    }
    return run_module(
        "pg_rollback_info", connection=dict(options), plan=plan(), run=run, application_stopped=True, **more
    )


@pytest.mark.parametrize(
    "case",
    [
        "cascade",
        "restrict",
        "other schema, mixed case",
        "two columns",
        "another column of a table of the plan",
        "not readable",
    ],
)
def test_the_assessment_reports_the_rows_first_and_refuses_the_reverse(
    applied: Options, tmp_path: Path, case: str
) -> None:
    table, _, statements = REFERENCING[case]
    (as_admin if "hidden" in table else query)(applied, statements)
    found = assess(applied, tmp_path)
    refused = assess(applied, tmp_path, method="reverse")

    assert not found["failed"], found["msg"]
    (entry,) = found["rows_of_others"]
    wanted = None if "hidden" in table else 1 if "playlists" in table else 3
    assert (entry["table"], entry["rows"]) == (table.replace('"', ""), wanted)
    reverse, restore = found["methods"][:2]
    assert not reverse["possible"]
    assert "nothing the application wrote" not in reverse["loses"]
    assert found["lines"].index("Rows of other tables block a reverse:") < found["lines"].index(
        "The application has written since the snapshot:"
    )
    # A restore puts the plan's own tables back, and its check of the keys would fail for the others.
    assert restore["why_not"].startswith("run 20260101T000000Z-abcdef has changed nothing")
    if wanted:
        assert len(query(applied, entry["remedy"])) == wanted
    assert refused["failed"]
    assert f"of {entry['table']} " in refused["msg"]
    assert "that reference public.tracks would" in refused["msg"]
    assert "Nothing was changed" in refused["msg"]
    assert refused["next_command"].startswith(entry["remedy"])
    assert refused["next_command"].endswith("then: ansible-playbook rollback.yml -e method=reverse")


def test_the_assessment_follows_the_keys_to_tables_further_away(applied: Options, tmp_path: Path) -> None:
    query(
        applied,
        "CREATE TABLE public.saved (id serial PRIMARY KEY, track_id uuid REFERENCES public.tracks ON DELETE CASCADE);"
        "CREATE TABLE public.receipt (saved int REFERENCES public.saved ON DELETE SET NULL);"
        f"INSERT INTO public.saved (track_id) {SOME}; INSERT INTO public.receipt SELECT id FROM public.saved LIMIT 2",
    )
    found = assess(applied, tmp_path)["rows_of_others"]
    assert [(one["table"], one["rows"], one["effect"], one["through"]) for one in found] == [
        ("public.saved", 3, "delete", []),
        ("public.receipt", 2, "set null", ["public.saved"]),
    ]


def test_an_empty_table_and_rows_of_other_tracks_are_in_nobodys_way(applied: Options, tmp_path: Path) -> None:
    query(applied, EMPTY)
    assert assess(applied, tmp_path, method="reverse")["rows_of_others"] == []


def test_only_what_is_undone_counts(applied: Options, tmp_path: Path) -> None:
    query(applied, f"{EMPTY}; INSERT INTO public.saved {SOME}")
    assert assess(applied, tmp_path, rollback_to=MIGRATE)["rows_of_others"] == []


def migrate(options: Options, version: str, state: str) -> dict[str, Any]:
    return run_module(
        "pg_migration",
        connection=dict(options),
        plan=plan(),
        version=version,
        state=state,
        plan_settings={"migrated_tracks_are_public": True},
        limits={"workers": 4, "range_rows": 100, "batch_rows": 20, "batch_rows_least": 10},
    )


@pytest.mark.parametrize("way", ["reverse", "forward"])
def test_a_reverse_that_meets_rows_of_others_goes_on_in_either_direction(applied: Options, way: str) -> None:
    for version in (FINALIZE, PLAYLISTS):
        assert not migrate(applied, version, "reverted")["failed"]
    query(applied, f"{EMPTY}; INSERT INTO public.saved {SOME}")

    stopped = migrate(applied, MIGRATE, "reverted")
    assert stopped["failed"]
    assert "other tables reference rows of public.tracks" in stopped["msg"]
    assert stopped["object"] == "public.saved"
    assert stopped["sqlstate"] == ROWS_OF_OTHERS
    assert "then continue the rollback: " in stopped["next_command"]
    assert value(applied, "SELECT count(*) FROM public.saved") == 3

    if way == "reverse":
        query(applied, "DELETE FROM public.saved")
        for version in (MIGRATE, PREPARE):
            again = migrate(applied, version, "reverted")
            assert not again["failed"], again["msg"]
        named = "SELECT count(*) FROM public.tracks AS t JOIN public.posts AS p ON p.id = t.id"
        assert value(applied, named) == 0
        return
    for version in (MIGRATE, PLAYLISTS, FINALIZE):
        again = migrate(applied, version, "applied")
        assert not again["failed"], again["msg"]
    assert value(applied, "SELECT count(*) FROM public.saved AS s JOIN public.tracks AS t ON t.id = s.track_id") == 3


def test_a_migration_that_stopped_before_its_functions_has_made_no_track(database: Options, tmp_path: Path) -> None:
    query(database, "CREATE INDEX idx_posts_track_id ON public.posts (content)")
    stopped = migrate(database, PREPARE, "applied")
    assert "exists with another definition" in stopped["msg"]
    query(database, f"{EMPTY}; INSERT INTO public.saved SELECT id FROM public.tracks LIMIT 2")
    tracks = value(database, "SELECT count(*) FROM public.tracks")

    assert assess(database, tmp_path, method="reverse")["rows_of_others"] == []
    reverted = migrate(database, PREPARE, "reverted")
    assert not reverted["failed"], reverted["msg"]
    (taken,) = [step for step in reverted["steps"] if step["name"] == "undo what the triggers made"]
    assert (taken["status"], taken["report"]) == ("done", ""), taken
    assert value(database, "SELECT count(*) FROM public.tracks") == tracks
    assert value(database, "SELECT count(*) FROM public.saved") == 2


def test_a_row_that_arrives_while_migration_1_is_undone_stops_it_and_it_can_be_applied_again(applied: Options) -> None:
    for version in (FINALIZE, PLAYLISTS, MIGRATE):
        assert not migrate(applied, version, "reverted")["failed"]
    user = make_user(applied)
    with owner_session(applied) as session:
        _, track = insert_post(session, user)
    query(applied, f"{EMPTY}; INSERT INTO public.saved VALUES ('{track}')")

    stopped = migrate(applied, PREPARE, "reverted")
    assert "1 row of public.saved would be deleted" in stopped["msg"]
    clash = (PLAN_DIRECTORY / "queries" / "dirty_id_clash.sql").read_text()
    assert query(applied, clash) == [], "preflight takes the track that is kept for one of somebody else"
    for version in VERSIONS[:2]:
        again = migrate(applied, version, "applied")
        assert not again["failed"], again["msg"]
    assert query(applied, "SELECT track_id::text FROM public.saved") == [(track,)]
