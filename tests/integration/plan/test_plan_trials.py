"""The plan's trials: green at every stage, and each one red where an object of the database breaks its statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.verification.trials.outcome import Result
from ansible.module_utils.runbook.verification.trials.runner import Acceptance, rolled_back, run_trials
from ansible.module_utils.runbook.verification.trials.trial import valid_trials
from plan_sql import FINALIZE, MIGRATE, PLAYLISTS, PREPARE, SETTINGS, VERSIONS, plan
from support.servers import Options, Server, query, value

OLD = {entry["name"] for entry in plan()["trials"] if entry["by"] == "old"}
NEW = {entry["name"] for entry in plan()["trials"] if entry["by"] == "new"}

#: From this version on a membership can be without its rights: see roles.sql.
SETS_ROLES = 16

#: By trial: what breaks its statement in a migrated database, and what the trial says.
OBJECTS = {
    "upload_audio_post": (
        "ALTER TABLE public.tracks ADD license text NOT NULL DEFAULT 'x';"
        " ALTER TABLE public.tracks ALTER license DROP DEFAULT",
        "column public.tracks.license",
    ),
    "edit_text_of_audio_post": (
        "CREATE POLICY frozen ON public.posts AS RESTRICTIVE FOR UPDATE TO authenticated USING (false)",
        "it affected 0 rows instead of 1: row-level security hides rows from authenticated, or a trigger or rule"
        " suppresses the write (the table has policy frozen of public.posts, trigger ",
    ),
    "change_file_of_audio_post": (
        "CREATE FUNCTION public.files_stay() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'files stay' USING ERRCODE = 'P0001'; END $$;"
        " CREATE TRIGGER files_stay BEFORE UPDATE OF audio_url ON public.posts"
        " FOR EACH ROW EXECUTE FUNCTION public.files_stay()",
        "trigger files_stay on public.posts (function public.files_stay)",
    ),
    "turn_audio_post_into_text": (
        "CREATE FUNCTION public.tracks_stay() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'tracks stay'; END $$;"
        " CREATE TRIGGER tracks_stay BEFORE DELETE ON public.tracks"
        " FOR EACH ROW EXECUTE FUNCTION public.tracks_stay()",
        "trigger tracks_stay on public.tracks (function public.tracks_stay)",
    ),
    "delete_audio_post": ("REVOKE DELETE ON public.posts FROM authenticated", "privileges on table posts"),
    "comment_on_post": (
        "ALTER TABLE public.comments ADD CONSTRAINT comments_short CHECK (length(content) < 3) NOT VALID",
        "constraint comments_short of public.comments",
    ),
    "add_playlist_entry": (
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        " CREATE TRIGGER aa_nothing BEFORE INSERT ON public.playlist_tracks"
        " FOR EACH ROW EXECUTE FUNCTION public.nothing()",
        "trigger aa_nothing on public.playlist_tracks",
    ),
    "reorder_playlist_entry": (
        "CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused at the end'; END $$;"
        " CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON public.playlist_tracks DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.late()",
        "refused at the end",
    ),
    "remove_playlist_entry": (
        "CREATE RULE keep AS ON DELETE TO public.playlist_tracks DO INSTEAD NOTHING",
        "cannot perform DELETE RETURNING",
    ),
    "delete_playlist": (
        "CREATE TABLE public.shares (playlist_id uuid CONSTRAINT shares_key REFERENCES public.playlists (id));"
        " INSERT INTO public.shares SELECT id FROM public.playlists",
        "constraint shares_key of public.shares",
    ),
    "delete_account": (
        "CREATE TABLE public.bills (user_id uuid CONSTRAINT bills_key REFERENCES auth.users (id));"
        " INSERT INTO public.bills SELECT id FROM auth.users",
        "constraint bills_key of public.bills",
    ),
    "new_upload_track": (
        "DROP POLICY tracks_insert_own ON public.tracks",
        "new row violates row-level security policy",
    ),
    "new_post_track": (
        "CREATE FUNCTION public.needs_url() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.audio_url IS NULL THEN RAISE EXCEPTION 'no URL'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER needs_url BEFORE INSERT ON public.posts FOR EACH ROW WHEN (NEW.post_type = 'audio')"
        " EXECUTE FUNCTION public.needs_url()",
        "trigger needs_url on public.posts (function public.needs_url)",
    ),
    "new_add_track_to_playlist": (
        "CREATE POLICY posted ON public.playlist_tracks AS RESTRICTIVE FOR INSERT TO authenticated"
        " WITH CHECK (EXISTS (SELECT FROM public.posts WHERE posts.id = playlist_tracks.track_id))",
        "policy posted of playlist_tracks",
    ),
    "new_edit_title": (
        "REVOKE UPDATE ON public.tracks FROM authenticated; GRANT UPDATE (title) ON public.tracks TO authenticated",
        "permission denied for table tracks",
    ),
}


def run(options: Options, applied: tuple[str, ...], only: str = "") -> dict[str, Result]:
    """Run the trials that are valid at a stage, in a session that has everything set that ours have."""
    ours = {**SETTINGS, "runbook.run_id": "test", "runbook.batch_session": "on"}
    trials = [trial for trial in valid_trials(plan(), applied, retired=False) if only in ("", trial.name)]
    settings = SessionSettings(application_name="runbook test", settings=ours)
    with session(options, settings) as connection, rolled_back(connection) as cursor:
        return {result.name: result for result in run_trials(cursor, trials, Acceptance(), list(SETTINGS))}


def everything(options: Options) -> list[Any]:
    return query(
        options,
        "SELECT name, md5(coalesce(string_agg(row::text, ',' ORDER BY row::text), '')) FROM ("
        " SELECT 'posts' AS name, to_jsonb(p) AS row FROM public.posts p UNION ALL"
        " SELECT 'tracks', to_jsonb(t) FROM public.tracks t UNION ALL"
        " SELECT 'comments', to_jsonb(c) FROM public.comments c UNION ALL"
        " SELECT 'playlists', to_jsonb(l) FROM public.playlists l UNION ALL"
        " SELECT 'entries', to_jsonb(e) FROM public.playlist_tracks e UNION ALL"
        " SELECT 'users', to_jsonb(u) FROM auth.users u) AS rows GROUP BY name ORDER BY name",
    )


@pytest.mark.parametrize("stage", ["", *VERSIONS])
def test_every_trial_passes_at_every_stage_and_leaves_nothing(
    server: Server, database: Options, database_at: Callable[[str], Options], stage: str
) -> None:
    options = database_at(stage) if stage else database
    before = everything(options)
    applied = VERSIONS[: VERSIONS.index(stage) + 1] if stage else ()
    results = run(options, applied)
    if server.major < SETS_ROLES:
        assert results.pop("delete_account").outcome == "not_examined"
    assert {name: (one.outcome, one.why) for name, one in results.items() if one.outcome != "passed"} == {}
    assert set(results) | {"delete_account"} == (OLD | NEW if stage in (PLAYLISTS, FINALIZE) else OLD)
    assert all(one.rows >= one.statements > 0 and one.milliseconds < 250 for one in results.values())
    assert everything(options) == before


@pytest.fixture(scope="module")
def migrated_template(stages: dict[str, str]) -> str:
    return stages[FINALIZE]


@pytest.fixture
def one(server: Server, migrated_template: str) -> Iterator[Options]:
    options = server.create_database(migrated_template)
    yield options
    server.drop_database(options)


def test_every_trial_has_an_object_that_breaks_it() -> None:
    assert set(OBJECTS) == OLD | NEW


@pytest.mark.parametrize("name", OBJECTS)
def test_a_trial_fails_for_an_object_of_the_database(server: Server, one: Options, name: str) -> None:
    if name == "delete_account" and server.major < SETS_ROLES:
        pytest.skip("the demo's owner cannot set the role of the sign-in service")
    statement, said = OBJECTS[name]
    query({**one, "user": "supabase_admin"}, f"SET ROLE postgres; {statement}")
    result = run(one, VERSIONS, only=name)[name]
    assert result.outcome == "failed", result
    assert said in f"{result.object} {result.why}", result
    assert result.statement
    assert result.place.split(":")[0].endswith(f"{name}.sql")


@pytest.mark.parametrize("stage", [PREPARE, MIGRATE, PLAYLISTS, FINALIZE])
def test_an_unqualified_name_in_a_trigger_resolves_as_it_does_for_the_application(
    database_at: Callable[[str], Options], stage: str
) -> None:
    """The trigger is the deployment's, on a table that the plan does not write: it works, and so must the trial."""
    options = database_at(stage)
    query(
        options,
        "CREATE TABLE public.mentions (content text);"
        " CREATE FUNCTION public.note_mention() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO mentions VALUES (NEW.content); RETURN NEW; END $$;"
        " CREATE TRIGGER note_mention AFTER INSERT ON public.comments"
        " FOR EACH ROW EXECUTE FUNCTION public.note_mention()",
    )
    assert run(options, VERSIONS[: VERSIONS.index(stage) + 1], only="comment_on_post")["comment_on_post"].why == ""
    assert value(options, "SELECT count(*) FROM public.mentions") == 0


def test_an_account_is_not_deleted_on_trial_where_much_of_others_goes_with_it(one: Options) -> None:
    """A small account with one post below which others wrote much: its deletion would lock all of that."""
    picked = "SELECT id FROM auth.users ORDER BY id LIMIT 1"
    query(one, f"DELETE FROM auth.users WHERE id <> ({picked})")
    query(one, "DELETE FROM public.posts WHERE id <> (SELECT id FROM public.posts ORDER BY id LIMIT 1)")
    query(one, "DELETE FROM public.comments; DELETE FROM public.playlists")
    assert run(one, VERSIONS, only="delete_account")["delete_account"].outcome == "passed"
    query(one, "INSERT INTO auth.users (id) SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff'")
    query(
        one,
        "INSERT INTO public.comments (post_id, user_id, content)"
        " SELECT p.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'x' FROM public.posts p, generate_series(1, 60)",
    )
    result = run(one, VERSIONS, only="delete_account")["delete_account"]
    others = value(one, "SELECT count(*) FROM public.comments WHERE user_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'")
    assert (result.outcome, others) == ("nothing_to_examine", 60), result
