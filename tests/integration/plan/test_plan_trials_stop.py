"""Each migration is stopped by an object that breaks a trial in one of its steps; nothing of that step is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plan_sql import FINALIZE, MIGRATE, PLAYLISTS, PREPARE, VERSIONS, catalogue, plan
from support.modules import run_module
from support.servers import Options, Server, query, value

Result = dict[str, Any]

#: By version: what breaks a statement in one of its steps, the step, the failing statements, and what raises the error.
STOPS = {
    PREPARE: (
        "CREATE FUNCTION public.label() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no label for %', NEW.title USING HINT = 'sign one'; END $$;"
        " CREATE TRIGGER label BEFORE INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.label()",
        "create the compatibility triggers of posts",
        {"upload_audio_post", "edit_text_of_audio_post", "change_file_of_audio_post", "add_playlist_entry"},
        "trigger label on public.tracks (function public.label)",
    ),
    MIGRATE: (
        "CREATE FUNCTION public.tracks_stay() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'tracks stay'; END $$;"
        " CREATE TRIGGER tracks_stay BEFORE DELETE ON public.tracks"
        " FOR EACH ROW EXECUTE FUNCTION public.tracks_stay()",
        "add the foreign key posts_track_id_fkey again, not validated, in place of the triggers",
        {"turn_audio_post_into_text", "delete_audio_post"},
        "trigger tracks_stay on public.tracks (function public.tracks_stay)",
    ),
    PLAYLISTS: (
        "CREATE FUNCTION public.known_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = TG_RELID AND contype = 'f'"
        " AND confrelid = 'public.posts'::regclass) THEN RAISE EXCEPTION 'entries are entries of posts'; END IF;"
        " RETURN NEW; END $$;"
        " CREATE TRIGGER known_key BEFORE INSERT OR UPDATE ON public.playlist_tracks"
        " FOR EACH ROW EXECUTE FUNCTION public.known_key()",
        "swap the key of the playlist entries",
        {"add_playlist_entry", "reorder_playlist_entry"},
        "trigger known_key on public.playlist_tracks (function public.known_key)",
    ),
    FINALIZE: (
        "CREATE FUNCTION public.known_columns() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.track_id := NULL; RETURN NEW; END $$;"
        " CREATE TRIGGER zzz_known_columns BEFORE INSERT ON public.posts"
        " FOR EACH ROW WHEN (NEW.audio_url IS NOT NULL) EXECUTE FUNCTION public.known_columns()",
        "add the constraint audio_posts_must_have_track, not validated",
        {"upload_audio_post"},
        "constraint audio_posts_must_have_track of public.posts",
    ),
}
DROPS = {
    PREPARE: "DROP TRIGGER label ON public.tracks",
    MIGRATE: "DROP TRIGGER tracks_stay ON public.tracks",
    PLAYLISTS: "DROP TRIGGER known_key ON public.playlist_tracks",
    FINALIZE: "DROP TRIGGER zzz_known_columns ON public.posts",
}
#: The survey names such objects beforehand; here they are accepted, so that the trials meet them.
ACCEPTED = ("trigger_not_sampled", "sampled_rows", "trigger", "trigger_conflict")
TABLES = ("public.posts", "public.tracks", "public.playlist_tracks")
ACCEPT = [
    {"finding": finding, "object": name, "reason": "test"}
    for finding in ACCEPTED
    for name in (*TABLES, "public.tracks.label", "public.tracks.tracks_stay")
]


def migrate(options: Options, version: str, **more: Any) -> Result:
    settings = {"migrated_tracks_are_public": True}
    usual: dict[str, Any] = {"connection": options, "plan": plan(), "version": version, "plan_settings": settings}
    return run_module("pg_migration", **{**usual, "accept": ACCEPT, **more})


@pytest.fixture(scope="module")
def before(server: Server, clean_template: str) -> dict[str, str]:
    """By version: the name of a template that pg_migration brought up to the version before it."""
    templates, latest = {}, clean_template
    for version in VERSIONS:
        templates[version] = latest
        options = server.create_database(latest)
        result = migrate(options, version)
        assert not result["failed"], result["msg"]
        latest = str(options["dbname"])
    return {**templates, "after": latest}


@pytest.fixture
def database_before(server: Server, before: dict[str, str]) -> Iterator[Callable[[str], Options]]:
    made: list[Options] = []

    def make(version: str) -> Options:
        made.append(server.create_database(before[version]))
        return made[-1]

    yield make
    for options in made:
        server.drop_database(options)


def failed_trials(result: Result) -> set[str]:
    return {trial["name"] for trial in result["trials"] if trial["outcome"] == "failed"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_step_that_breaks_a_statement_is_rolled_back(database_before: Callable[[str], Options], version: str) -> None:
    options = database_before(version)
    statement, step, names, raised_by = STOPS[version]
    query(options, statement)

    result = migrate(options, version)
    assert result["failed"]
    assert f"({step})" in result["msg"], result["msg"]
    assert "was rolled back before its commit" in result["msg"]
    assert failed_trials(result) >= names, result["trials"]
    assert f"raised by: {raised_by}" in result["msg"]
    assert "context: " in result["msg"] or version == FINALIZE
    assert "The step changed nothing in the database." in result["msg"]
    alone = "These also fail without the step: " if version == MIGRATE else "These succeed without the step: "
    assert f"\n{alone}" in result["msg"]
    assert result["object"] == raised_by
    assert result["next_command"].startswith(f"correct what raises the error ({raised_by}), then: ")
    first = version == FINALIZE
    assert result["left_as"] == ("unchanged" if first else "resumable")
    assert ("No step of this migration is applied" if first else "The steps before it are kept") in result["msg"]
    assert step not in [entry["name"] for entry in result["steps"]]
    assert (
        value(options, "SELECT count(*) FROM supabase_migrations.schema_migrations WHERE version = %s", (version,)) == 0
    )

    left = catalogue(options)
    again = migrate(options, version)
    assert f"({step})" in again["msg"], again["msg"]
    assert catalogue(options) == left, "a stopped step left something behind"

    query(options, DROPS[version])
    done = migrate(options, version)
    assert not done["failed"], done["msg"]
    assert failed_trials(done) == set()
    assert {trial["outcome"] for trial in done["trials"] if trial["name"] != "delete_account"} == {"passed"}


def test_a_statement_that_failed_before_stops_nothing_until_it_has_passed(
    database_before: Callable[[str], Options],
) -> None:
    options = database_before(PREPARE)
    query(options, "REVOKE INSERT ON public.comments FROM authenticated")
    prepared = migrate(options, PREPARE)
    assert not prepared["failed"], prepared["msg"]
    (comment,) = [trial for trial in prepared["trials"] if trial["name"] == "comment_on_post"]
    assert (comment["outcome"], comment["tolerated"]) == ("failed", "it failed before the plan changed anything")
    assert any("it failed before the plan changed anything" in line for line in prepared["summary"])

    query(options, "GRANT INSERT ON public.comments TO authenticated")
    assert not migrate(options, MIGRATE)["failed"]
    query(options, "REVOKE INSERT ON public.comments FROM authenticated")
    swapped = migrate(options, PLAYLISTS)
    assert swapped["failed"]
    assert "These also fail without the step: comment_on_post;" in swapped["msg"]
    assert not migrate(
        options, PLAYLISTS, accept=[{"finding": "trial_failed", "object": "comment_on_post", "reason": "known"}]
    )["failed"]


def test_the_new_applications_statements_stop_the_migration_that_lets_it_start(
    database_before: Callable[[str], Options],
) -> None:
    options = database_before(PLAYLISTS)
    query(options, "DROP POLICY tracks_insert_own ON public.tracks")
    result = migrate(options, PLAYLISTS)
    assert result["failed"]
    assert "new application: Upload a track (trial new_upload_track)" in result["msg"]
    assert f"Every step of migration {PLAYLISTS} is done, but it is not recorded as applied." in result["msg"]
    assert result["left_as"] == "resumable"
    query(options, "CREATE POLICY own ON public.tracks FOR INSERT WITH CHECK (auth.uid() = user_id)")
    assert not migrate(options, PLAYLISTS)["failed"]


def test_no_trial_runs_in_check_mode(database_before: Callable[[str], Options]) -> None:
    options = database_before(PREPARE)
    query(
        options,
        "CREATE SEQUENCE public.fired; GRANT USAGE ON public.fired TO PUBLIC;"
        " CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('public.fired'); RETURN NEW; END $$;"
        " CREATE TRIGGER fire BEFORE INSERT ON public.comments FOR EACH ROW EXECUTE FUNCTION public.fire()",
    )
    migration = migrate(options, PREPARE, _check=True)
    checks: dict[str, Any] = {"connection": options, "checks": [], "plan": plan()}
    verified = run_module("pg_verify", **checks, _check=True)
    for result in (migration, verified):
        assert not result["failed"], result["msg"]
        assert {(trial["outcome"], trial["why"]) for trial in result["trials"]} == {
            ("not_examined", "check mode: no trial runs")
        }
    assert value(options, "SELECT is_called FROM public.fired") is False
    assert not run_module("pg_verify", **checks)["failed"]
    assert value(options, "SELECT is_called FROM public.fired") is True


def test_a_reverse_runs_to_its_end_and_reports_the_old_applications_statements(
    database_before: Callable[[str], Options],
) -> None:
    """A release after the migration added a required column: it breaks uploads, and the way back makes them work."""
    options = database_before("after")
    query(
        options,
        "ALTER TABLE public.tracks ADD license text NOT NULL DEFAULT 'x';"
        " ALTER TABLE public.tracks ALTER license DROP DEFAULT;"
        " REVOKE INSERT ON public.comments FROM authenticated",
    )
    verified = run_module("pg_verify", connection=options, checks=[], plan=plan())
    assert verified["failed"]
    assert "raised by: column public.tracks.license" in verified["msg"]
    assert failed_trials(verified) >= {"upload_audio_post", "new_upload_track", "comment_on_post"}
    accept = [
        {"finding": "required_column", "object": name, "reason": "test"}
        for name in ("public.tracks", "public.tracks.license")
    ]
    for version in reversed(VERSIONS):
        result = migrate(options, version, state="reverted", accept=accept)
        assert not result["failed"], result["msg"]
    assert {trial["by"] for trial in result["trials"]} == {"old"}
    assert failed_trials(result) == {"comment_on_post"}
    assert [trial["tolerated"] for trial in result["trials"] if trial["outcome"] == "failed"] == [""]
