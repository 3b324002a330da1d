"""The survey along a run: what is declared happens, what is accepted passes, what others deploy meanwhile is found."""

from __future__ import annotations

from typing import Any

from plan_sql import MIGRATE, PREPARE, VERSIONS, apply, owner_session, plan, plan_query
from support.modules import run_module
from support.servers import SUPERUSER, Options, query, value

SETTINGS = {"migrated_tracks_are_public": True}
COLUMNS = ", ".join(plan()["creates"][0]["columns"])

REQUIRED = (
    "ALTER TABLE public.tracks ADD license text NOT NULL DEFAULT 'x';"
    "ALTER TABLE public.tracks ALTER license DROP DEFAULT"
)
DEFERRABLE = "ALTER TABLE public.playlist_tracks ADD CONSTRAINT places UNIQUE (playlist_id, position, id) DEFERRABLE;"
FORCED = "ALTER TABLE public.tracks FORCE ROW LEVEL SECURITY"
ACCEPTED = {"finding": "force_row_security", "object": "public.tracks", "reason": "the role has BYPASSRLS"}


def rows_of(options: Options, statement: str) -> set[tuple[Any, ...]]:
    with owner_session(options) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return set(cursor.fetchall())


def deploy(options: Options, statement: str) -> None:
    query({**options, "user": SUPERUSER}, statement)


def migrate(options: Options, version: str, **more: Any) -> dict[str, Any]:
    return run_module("pg_migration", connection=options, plan=plan(), version=version, plan_settings=SETTINGS, **more)


def examine(options: Options, **more: Any) -> dict[str, Any]:
    return run_module(
        "pg_environment_info",
        connection=options,
        plan=plan(),
        plan_settings=SETTINGS,
        free_disk_bytes=10**12,
        **more,
    )


def severities(result: dict[str, Any]) -> dict[str, str]:
    return {f"{finding['name']} {finding['object']}": finding["severity"] for finding in result["findings"]}


def test_the_plan_creates_and_updates_exactly_the_rows_that_it_declares(database: Options) -> None:
    audio = "FROM public.posts WHERE post_type = 'audio' ORDER BY id"
    deploy(database, f"UPDATE public.posts SET audio_filename = ' ' WHERE id IN (SELECT id {audio} LIMIT 5)")
    deploy(database, f"UPDATE public.posts SET audio_duration = NULL WHERE id IN (SELECT id {audio} LIMIT 9)")
    # Of the library, with and without entries of its posts; one file twice.
    deploy(
        database,
        "INSERT INTO public.tracks (user_id, title, file_url)"
        f" SELECT user_id, 'mine', audio_url FROM (SELECT user_id, audio_url {audio} OFFSET 20 LIMIT 7) AS p"
        " CROSS JOIN generate_series(1, 2)",
    )
    created = rows_of(database, plan_query("creates_tracks").rstrip(";\n"))
    posts = rows_of(database, plan_query("updates_posts"))
    entries = rows_of(database, plan_query("updates_playlist_tracks"))
    library = rows_of(database, "SELECT id FROM public.tracks")
    before = dict(query(database, "SELECT id, track_id FROM public.playlist_tracks"))

    apply(database, *VERSIONS)

    tracks = rows_of(database, f"SELECT {COLUMNS} FROM public.tracks")
    assert {row for row in tracks if (row[0],) not in library} == created
    assert rows_of(database, "SELECT id, track_id, true FROM public.posts WHERE post_type = 'audio'") == posts
    after = dict(query(database, "SELECT id, track_id FROM public.playlist_tracks"))
    changed = {(key, track) for key, track in after.items() if before[key] != track}
    assert changed == {(key, track) for key, track, stays in entries if stays}
    assert set(before) - set(after) == {key for key, _, stays in entries if not stays}
    assert any(stays for *_, stays in entries), "an entry of a repost is moved"
    assert not all(stays for *_, stays in entries), "an entry is merged with another"


def test_the_demo_has_no_finding_that_blocks(database: Options) -> None:
    result = examine(database)
    assert not result["failed"], result["msg"]
    assert severities(result).get("key_from_outside public.posts, public.playlists") == "information"
    assert not [finding for finding in result["findings"] if finding["name"] in ("not_examined", "sampled_rows")]


def test_the_inventory_accepts_by_name_and_object_with_a_reason(database: Options) -> None:
    deploy(database, FORCED)
    assert "force_row_security" in examine(database)["blocking"]
    unused = {"finding": "rule", "object": "public.posts.gone", "reason": "it was dropped"}
    unknown = {"finding": "wrong_database", "object": "x", "reason": "no"}
    result = examine(database, accept=[ACCEPTED, unused, unknown])
    assert not result["failed"], result["msg"]
    assert "(accepted: the role has BYPASSRLS)" in result["msg"]
    found = severities(result)
    assert found["force_row_security public.tracks"] == "information"
    assert found["accept_unused public.posts.gone"] == "information"
    assert found["accept_unknown x"] == "warning"
    other = {**ACCEPTED, "object": "public.posts"}
    assert "force_row_security" in examine(database, accept=[other])["blocking"], "the object counts"
    assert "missing required arguments: reason" in examine(database, accept=[{"finding": "a", "object": "b"}])["msg"]


def test_a_sample_leaves_nothing_and_is_not_taken_in_check_mode(database: Options) -> None:
    deploy(
        database,
        "CREATE SEQUENCE public.calls; GRANT ALL ON SEQUENCE public.calls TO postgres;"
        "CREATE FUNCTION public.count_call() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('calls'); RETURN NEW; END $$;"
        "CREATE TRIGGER counts BEFORE INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.count_call()",
    )
    before = value(database, "SELECT count(*) FROM public.tracks")
    checked = examine(database, _check=True)
    assert "check mode inserts no sample rows" in checked["msg"]
    assert value(database, "SELECT is_called FROM public.calls") is False
    result = examine(database)
    assert "sampled, 20 rows that the plan will create were accepted unchanged and rolled back" in result["msg"]
    assert value(database, "SELECT last_value FROM public.calls") == 20
    assert value(database, "SELECT count(*) FROM public.tracks") == before


def test_what_others_deploy_meanwhile_stops_the_next_migration(database: Options) -> None:
    assert not migrate(database, PREPARE)["failed"]
    deploy(database, REQUIRED)
    for check in (True, False):
        refused = migrate(database, MIGRATE, _check=check)
        assert refused["failed"]
        assert f"migration {MIGRATE} does not start: the plan cannot work with this schema" in refused["msg"]
        assert "[blocking] required_column (public.tracks.license)" in refused["msg"]
        assert "Nothing was changed." in refused["msg"]
        assert (refused["left_as"], refused["steps"], refused["object"]) == ("unchanged", [], "public.tracks.license")
    assert value(database, "SELECT count(*) FROM public.posts WHERE track_id IS NOT NULL") == 0
    undone = migrate(database, PREPARE, state="reverted")
    assert not undone["failed"], undone["msg"]  # what takes the triggers away cures it


def test_what_others_deploy_meanwhile_stops_a_reverse_before_it_begins(database: Options) -> None:
    for version in VERSIONS:
        result = migrate(database, version)
        assert not result["failed"], result["msg"]
    deploy(database, DEFERRABLE)
    refused = migrate(database, VERSIONS[-1], state="reverted")
    assert refused["failed"]
    assert f"the reverse of {VERSIONS[-1]} does not start" in refused["msg"]
    assert "[blocking] deferrable_constraint (public.playlist_tracks.places)" in refused["msg"]
    assert refused["left_as"] == "unchanged"

    # The survey alone: trials have tests of their own.
    survey = {"connection": database, "checks": [], "survey": True, "plan_settings": SETTINGS}
    survey["plan"] = {**plan(), "trials": []}
    assert not run_module("pg_verify", **survey)["failed"]
    deploy(database, REQUIRED)
    failed = run_module("pg_verify", **survey)
    assert failed["failed_checks"] == ["survey"]
    assert "finding=required_column, object=public.tracks.license" in failed["msg"]


def test_a_view_is_in_the_way_until_its_column_is_changed(database: Options) -> None:
    deploy(database, "CREATE VIEW public.listed AS SELECT track_id FROM public.playlist_tracks")
    assert migrate(database, PREPARE)["object"] == "public.listed"
    accept = [{"finding": "object_on_changed_column", "object": "public.listed", "reason": "it shows ids only"}]
    done = [migrate(database, version, accept=accept) for version in VERSIONS[:3]]
    assert not [result["msg"] for result in done if result["failed"]]
    assert not migrate(database, VERSIONS[3])["failed"], "nothing is left to accept"
