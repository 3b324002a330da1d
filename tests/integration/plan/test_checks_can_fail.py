"""Every check of the plan can fail: a change of data or catalog makes exactly its expectation fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings
from ansible.module_utils.runbook.database.readers import for_reading, readers
from ansible.module_utils.runbook.plain import to_plain
from ansible.module_utils.runbook.verification.catalog_checks import catalog_checks, written_tables
from ansible.module_utils.runbook.verification.checks import unmet
from plan_sql import FINALIZE, answer, owner_session, plan
from support.modules import run_module
from support.servers import Options, query

DatabaseAt = Callable[[str], Options]

AN_AUDIO_POST = "(SELECT id FROM public.posts WHERE post_type = 'audio' AND track_id = id ORDER BY id LIMIT 1)"
AN_ENTRY = "(SELECT id FROM public.playlist_tracks ORDER BY id LIMIT 1)"
TWO_POSTS_OF_ONE_USER = """
    (SELECT p.id AS one, q.id AS two FROM public.posts p JOIN public.posts q ON q.user_id = p.user_id AND q.id > p.id
     WHERE p.track_id = p.id AND q.track_id = q.id ORDER BY 1, 2 LIMIT 1) AS pair"""

#: Name of the check, the change (as superuser, no trigger and no key looking on), the columns that are not met then.
MUTATIONS: list[tuple[str, str, list[str]]] = [
    (
        "track_id_column",
        "DELETE FROM public.posts WHERE track_id IS NULL; ALTER TABLE public.posts ALTER COLUMN track_id SET NOT NULL",
        ["is_nullable"],
    ),
    (
        "track_id_column",
        "ALTER TABLE public.posts RENAME COLUMN track_id TO trackid",
        ["column_name", "data_type", "is_nullable"],
    ),
    ("track_id_index", "DROP INDEX public.idx_posts_track_id", ["indexname", "indexdef", "is_valid"]),
    (
        "track_id_index",
        "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_posts_track_id'::regclass",
        ["is_valid"],
    ),
    (
        "track_id_index",
        "DROP INDEX public.idx_posts_track_id; CREATE INDEX idx_posts_track_id ON public.posts (created_at)",
        ["indexdef"],
    ),
    (
        "track_id_key",
        "ALTER TABLE public.posts DROP CONSTRAINT posts_track_id_fkey",
        ["constraint_name", "constraint_type", "references_tracks", "on_delete"],
    ),
    (
        "track_id_key",
        "ALTER TABLE public.posts DROP CONSTRAINT posts_track_id_fkey, ADD CONSTRAINT posts_track_id_fkey "
        "FOREIGN KEY (track_id) REFERENCES public.tracks (id) ON DELETE CASCADE NOT VALID",
        ["on_delete"],
    ),
    ("tracks_columns", "ALTER TABLE public.tracks ALTER COLUMN compression_ratio TYPE numeric", ["columns_found"]),
    (
        "post_triggers",
        'ALTER TABLE public.posts DISABLE TRIGGER "A_tracks_posts_separation_forget"',
        ["enabled_triggers"],
    ),
    ("post_triggers", "DROP TRIGGER zz_tracks_posts_separation_decide_insert ON public.posts", ["enabled_triggers"]),
    (
        "orphaned_posts",
        "ALTER TABLE public.posts DROP CONSTRAINT audio_posts_must_have_track; "
        f"UPDATE public.posts SET track_id = NULL WHERE id = {AN_AUDIO_POST}",
        ["offending_rows"],
    ),
    (
        "one_track_per_user_and_file",
        "INSERT INTO public.tracks (id, user_id, title, file_url) "
        "SELECT '11111111-1111-1111-1111-111111111111', user_id, 'x', audio_url FROM public.posts "
        "WHERE track_id <> id LIMIT 1;"
        "UPDATE public.posts SET track_id = '11111111-1111-1111-1111-111111111111' WHERE id = "
        "(SELECT id FROM public.posts p "
        "WHERE EXISTS (SELECT FROM public.posts q WHERE q.id <> p.id AND q.track_id = p.track_id) ORDER BY id LIMIT 1)",
        ["tracks_of_audio_posts"],
    ),
    (
        "made_tracks_are_used",
        "UPDATE public.posts SET track_id = (SELECT id FROM public.tracks t WHERE NOT EXISTS (SELECT FROM public.posts "
        f"WHERE track_id = t.id) LIMIT 1) WHERE id = {AN_AUDIO_POST}",
        ["offending_rows"],
    ),
    (
        "made_tracks_are_used",
        "INSERT INTO tracks_posts_separation.deleted_post SELECT id, user_id, id FROM public.tracks t "
        "WHERE NOT EXISTS (SELECT FROM public.posts WHERE track_id = t.id) LIMIT 1",
        ["offending_rows"],
    ),
    (
        "track_data",
        f"UPDATE public.posts SET content = 'lost edit', updated_at = now() WHERE id = {AN_AUDIO_POST}",
        ["different_details"],
    ),
    (
        "track_data",
        f"UPDATE public.tracks SET title = 'other' WHERE id = {AN_AUDIO_POST}",
        ["different_details"],
    ),
    (
        "track_data",
        (
            f"UPDATE public.tracks SET user_id = (SELECT max(id::text)::uuid FROM public.profiles p WHERE "
            f"p.id <> user_id) WHERE id = {AN_AUDIO_POST}"
        ),
        ["different_user"],
    ),
    (
        "track_data",
        f"UPDATE public.posts SET track_id = pair.two FROM {TWO_POSTS_OF_ONE_USER} WHERE id = pair.one",
        ["different_file"],
    ),
    (
        "duplicate_tracks",
        f"UPDATE public.tracks SET file_url = (SELECT file_url FROM public.tracks WHERE id = "
        f"pair.one) FROM {TWO_POSTS_OF_ONE_USER} "
        "WHERE tracks.id = pair.two",
        ["duplicate_tracks"],
    ),
    (
        "playlist_references",
        f"UPDATE public.playlist_tracks SET track_id = gen_random_uuid() WHERE id = {AN_ENTRY}",
        ["offending_rows"],
    ),
    (
        "playlist_key",
        "ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey",
        [
            "constraint_name",
            "foreign_table_name",
            "foreign_column_name",
            "options_kept",
            "is_validated",
            "rows_examined",
        ],
    ),
    (
        "playlist_key",
        "ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey, ADD CONSTRAINT "
        "playlist_tracks_track_id_fkey FOREIGN KEY (track_id) REFERENCES public.posts (id) ON DELETE CASCADE NOT VALID",
        ["foreign_table_name", "options_kept", "is_validated"],
    ),
    (
        "playlist_key",
        "ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey, ADD CONSTRAINT "
        "playlist_tracks_track_id_fkey FOREIGN KEY (track_id) REFERENCES public.tracks (id) ON DELETE SET NULL",
        ["options_kept"],
    ),
    (
        "playlists_with_missing_tracks",
        f"UPDATE public.playlist_tracks SET track_id = gen_random_uuid() WHERE id = {AN_ENTRY}",
        ["offending_rows"],
    ),
    (
        "translating_trigger",
        "ALTER TABLE public.playlist_tracks DISABLE TRIGGER zz_tracks_posts_separation_translate",
        ["enabled_triggers"],
    ),
    ("translating_trigger", "DROP FUNCTION public.posts(public.playlist_tracks)", ["posts_can_be_joined"]),
    (
        "audio_posts_must_have_track",
        "ALTER TABLE public.posts DROP CONSTRAINT audio_posts_must_have_track",
        ["constraint_name", "check_clause", "is_validated"],
    ),
    (
        "audio_posts_must_have_track",
        "ALTER TABLE public.posts DROP CONSTRAINT audio_posts_must_have_track, ADD CONSTRAINT "
        "audio_posts_must_have_track "
        "CHECK (post_type <> 'audio' OR track_id IS NOT NULL) NOT VALID",
        ["is_validated"],
    ),
    (
        "audio_posts_must_have_track",
        (
            "ALTER TABLE public.posts DROP CONSTRAINT audio_posts_must_have_track, ADD CONSTRAINT "
            "audio_posts_must_have_track CHECK (true)"
        ),
        ["check_clause"],
    ),
    ("tracks_indexes", "DROP INDEX public.idx_tracks_is_public", ["valid_indexes"]),
    (
        "tracks_indexes",
        "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_tracks_user_id'::regclass",
        ["valid_indexes"],
    ),
    ("deprecation_comments", "COMMENT ON COLUMN public.posts.audio_duration IS 'seconds'", ["columns_without_comment"]),
    (
        "invalid_post_tracks",
        f"UPDATE public.posts SET track_id = gen_random_uuid() WHERE id = {AN_AUDIO_POST}",
        ["offending_rows"],
    ),
    (
        "playlist_integrity",
        f"UPDATE public.playlist_tracks SET track_id = gen_random_uuid() WHERE id = {AN_ENTRY}",
        ["total_playlist_tracks"],
    ),
]


def all_checks() -> dict[str, dict[str, Any]]:
    loaded = plan()
    return {check["name"]: check for entry in [*loaded["migrations"], loaded] for check in entry["checks"]}


def test_every_check_has_a_change_that_makes_it_fail() -> None:
    judged = {name for name, check in all_checks().items() if not check["informational"]}
    assert judged == {name for name, _, _ in MUTATIONS}


@pytest.mark.parametrize(
    ("name", "change", "columns"), MUTATIONS, ids=[f"{name}-{number}" for number, (name, _, _) in enumerate(MUTATIONS)]
)
def test_the_check_notices(database_at: DatabaseAt, name: str, change: str, columns: list[str]) -> None:
    options = database_at(FINALIZE)
    superuser = {**options, "user": "supabase_admin"}
    check = all_checks()[name]
    before = to_plain(answer(options, check))
    assert unmet(check["expect"], before) == []
    assert before["rows_examined"] > 0
    query(superuser, "SET session_replication_role = replica; " + change)
    after = to_plain(answer(options, check))
    assert unmet(check["expect"], after) == columns, after
    if check["offenders"]:
        with owner_session(options) as connection, connection.cursor() as cursor:
            with open(check["offenders"], encoding="utf-8") as file:
                cursor.execute(file.read())
            assert cursor.fetchall(), "the query for the offending rows finds none"


@pytest.mark.parametrize(
    ("name", "change", "observed"),
    [
        (
            "foreign_keys",
            "DELETE FROM public.profiles WHERE id = (SELECT user_id FROM public.tracks ORDER BY id LIMIT 1)",
            "tracks_user_id_fkey",
        ),
        (
            "foreign_keys",
            "DELETE FROM public.posts WHERE id = (SELECT post_id FROM public.comments ORDER BY id LIMIT 1)",
            "comments_post_id_fkey",
        ),
        (
            "catalog_state",
            "ALTER TABLE public.tracks ADD CONSTRAINT later CHECK (duration < 100000) NOT VALID",
            "constraint not validated",
        ),
        (
            "catalog_state",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_tracks_user_id'::regclass",
            "index not valid",
        ),
        ("catalog_state", "ALTER TABLE public.posts DISABLE TRIGGER update_posts_updated_at", "trigger disabled"),
    ],
)
def test_the_checks_of_every_plan_notice(database_at: DatabaseAt, name: str, change: str, observed: str) -> None:
    options = database_at(FINALIZE)
    before = catalog_results(options)
    assert {result["status"] for result in before.values()} == {"passed"}, before
    assert all(result["rows_examined"] > 0 for result in before.values())
    query({**options, "user": "supabase_admin"}, "SET session_replication_role = replica; " + change)
    after = catalog_results(options)
    assert [key for key, result in after.items() if result["status"] == "failed"] == [name]
    assert observed in str(after[name]["offenders"])
    assert after[name]["why"].startswith("found ")


def test_the_checks_of_every_plan_wait_for_its_last_migration(database_at: DatabaseAt) -> None:
    given = {"connection": database_at(FINALIZE), "checks": [], "plan": plan(), "survey": True}
    given["plan_settings"] = {"migrated_tracks_are_public": True}
    result = run_module("pg_verify", **given, versions=["20990101000000"])
    statuses = {check["name"]: check["status"] for check in result["results"]}
    assert (statuses["foreign_keys"], statuses["catalog_state"]) == ("would_be_checked", "would_be_checked")
    result = run_module("pg_verify", **given)
    statuses = {check["name"]: check["status"] for check in result["results"]}
    assert (statuses["foreign_keys"], statuses["catalog_state"]) == ("passed", "passed")


def catalog_results(options: Options) -> dict[str, dict[str, Any]]:
    with readers({**options, "user": "supabase_admin"}, for_reading(SessionSettings("test")), 2) as side_by_side:
        return {result["name"]: result for result in catalog_checks(side_by_side, written_tables(plan()))}
