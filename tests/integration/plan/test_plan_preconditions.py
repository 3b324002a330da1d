"""Every precondition passes on the demo's clean rows, and fails on the rows that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plan_sql import MIGRATE, PREPARE, VERSIONS, apply, owner_session, plan, run_step, steps_of
from support.servers import Options, load_demo, query

A_POST = "(SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 1)"
A_TEXT_POST = "(SELECT id FROM public.posts WHERE post_type = 'text' ORDER BY id LIMIT 1)"
A_LIST = "(SELECT id FROM public.playlists ORDER BY id LIMIT 1)"

#: Name of the precondition, the change that it is about (as superuser, no trigger, no key), rows it then returns.
DIRT: list[tuple[str, str, int]] = [
    ("blank_audio_url", f"UPDATE public.posts SET audio_url = '' WHERE id = {A_POST}", 1),
    ("blank_audio_url", f"UPDATE public.posts SET audio_url = E' \\t\\n' WHERE id = {A_POST}", 1),
    ("blank_audio_url", f"UPDATE public.posts SET audio_url = NULL WHERE id = {A_POST}", 1),
    ("long_title", f"UPDATE public.posts SET audio_filename = repeat('x', 256) WHERE id = {A_POST}", 1),
    ("long_title", f"UPDATE public.posts SET audio_filename = '  ' || repeat('x', 255) || ' ' WHERE id = {A_POST}", 0),
    ("size_or_duration_not_positive", f"UPDATE public.posts SET audio_duration = 0 WHERE id = {A_POST}", 1),
    ("size_or_duration_not_positive", f"UPDATE public.posts SET audio_file_size = -1 WHERE id = {A_POST}", 1),
    ("size_or_duration_not_positive", f"UPDATE public.posts SET audio_file_size = NULL WHERE id = {A_POST}", 0),
    ("audio_post_without_profile", f"UPDATE public.posts SET user_id = gen_random_uuid() WHERE id = {A_POST}", 1),
    (
        "track_with_id_of_a_post",
        (
            f"INSERT INTO public.tracks (id, user_id, title, file_url) SELECT id, user_id, 'x', 'x' FROM "
            f"public.posts WHERE id = {A_TEXT_POST}"
        ),
        1,
    ),
    (
        "track_with_id_of_a_post",
        "INSERT INTO public.tracks (id, user_id, title, file_url) SELECT p.id, u.id, 'x', 'x' FROM public.posts AS p"
        f" JOIN public.profiles AS u ON u.id <> p.user_id WHERE p.id = {A_TEXT_POST} LIMIT 1",
        0,
    ),
    ("column_of_other_type", "ALTER TABLE public.tracks ADD COLUMN file_size bigint", 1),
    ("column_of_other_type", "ALTER TABLE public.tracks ADD COLUMN compression_ratio numeric(4, 2)", 0),
    ("index_of_other_definition", "CREATE INDEX idx_tracks_user_id ON public.tracks (user_id, id)", 1),
    ("index_of_other_definition", "CREATE INDEX idx_tracks_user_id ON public.tracks (user_id)", 0),
    ("index_of_other_definition", "CREATE INDEX idx_tracks_is_public ON public.tracks (is_public) WHERE is_public", 0),
    (
        "playlist_entry_of_text_post",
        f"INSERT INTO public.playlist_tracks (playlist_id, track_id, position) VALUES ({A_LIST}, {A_TEXT_POST}, 0)",
        1,
    ),
    ("playlist_key", "ALTER TABLE public.playlist_tracks RENAME CONSTRAINT playlist_tracks_track_id_fkey TO other", 1),
    ("playlist_key", "ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey", 1),
    (
        "playlist_key",
        "ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey, ADD CONSTRAINT"
        " playlist_tracks_track_id_fkey FOREIGN KEY (track_id) REFERENCES public.posts (id) ON DELETE RESTRICT"
        " DEFERRABLE",
        0,
    ),
    (
        "track_key_of_other_kind",
        "ALTER TABLE public.posts ADD COLUMN track_id uuid CONSTRAINT posts_track_id_fkey REFERENCES public.tracks (id)"
        " ON DELETE SET NULL",
        1,
    ),
    (
        "track_key_of_other_kind",
        "ALTER TABLE public.posts ADD COLUMN track_id uuid CONSTRAINT posts_track_id_fkey"
        " REFERENCES public.tracks (id)",
        0,
    ),
    ("schema_open_to_everybody", "GRANT CREATE ON SCHEMA public TO PUBLIC", 1),
    ("posts_user_without_key", "ALTER TABLE public.posts DROP CONSTRAINT posts_user_id_fkey", 1),
]

#: What the demo's clean rows have: reposts, entries of reposts, and the older check.
PRESENT_IN_CLEAN_ROWS = {"audio_fields_check": 1, "reposted_files": 3, "playlist_entry_of_repost": None}


def preconditions() -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in plan()["requirements"]["preconditions"]}


def found(options: Options, name: str) -> list[Any]:
    with owner_session(options) as connection, connection.cursor() as cursor:
        cursor.execute(Path(preconditions()[name]["query"]).read_text(encoding="utf-8"))
        return list(cursor.fetchall())


def test_every_precondition_is_tried() -> None:
    assert set(preconditions()) == {name for name, _, _ in DIRT} | set(PRESENT_IN_CLEAN_ROWS)


@pytest.mark.parametrize(("name", "change", "expected"), DIRT, ids=[f"{dirt[0]}-{at}" for at, dirt in enumerate(DIRT)])
def test_the_precondition_finds_its_rows(database: Options, name: str, change: str, expected: int) -> None:
    superuser = {**database, "user": "supabase_admin"}
    assert found(database, name) == []
    query(superuser, "ALTER TABLE public.posts DROP CONSTRAINT posts_audio_fields_check")
    query(superuser, "SET session_replication_role = replica; " + change)
    assert len(found(database, name)) == expected


def test_an_interruption_after_any_step_leaves_no_precondition_in_the_way(database: Options) -> None:
    """An interrupted run is gone on with by migrate.yml, which asks for the preconditions of what is pending."""
    in_the_way = []
    for at, version in enumerate(VERSIONS):
        pending = VERSIONS[at:]
        relevant = [
            name
            for name, entry in preconditions().items()
            if entry["severity"] == "blocking" and entry["until"] in (None, *pending)
        ]
        for step in steps_of(version):
            with owner_session(database) as connection:
                run_step(connection, step)
            in_the_way += [(version, step.name, name) for name in relevant if found(database, name)]
    assert in_the_way == []


def test_a_key_that_points_at_tracks_without_migration_3_is_in_the_way(database: Options) -> None:
    query({**database, "user": "supabase_admin"}, "DELETE FROM public.playlist_tracks")
    query(
        database,
        "ALTER TABLE public.playlist_tracks DROP CONSTRAINT playlist_tracks_track_id_fkey,"
        " ADD CONSTRAINT playlist_tracks_track_id_fkey FOREIGN KEY (track_id) REFERENCES public.tracks (id)",
    )
    assert len(found(database, "playlist_key")) == 1


def test_what_is_told_of_clean_rows(database: Options) -> None:
    assert len(found(database, "audio_fields_check")) == 1
    assert len(found(database, "reposted_files")) == 3
    in_lists = found(database, "playlist_entry_of_repost")
    reposts = query(
        database,
        "SELECT e.id FROM public.playlist_tracks e JOIN public.posts p ON p.id = e.track_id WHERE "
        "EXISTS (SELECT FROM public.posts q "
        "WHERE q.user_id = p.user_id AND q.audio_url = p.audio_url AND (q.created_at, q.id) < (p.created_at, p.id))",
    )
    assert reposts
    assert sorted(row[0] for row in in_lists) == sorted(row[0] for row in reposts)
    query(database, "ALTER TABLE public.posts DROP CONSTRAINT posts_audio_fields_check")
    query(
        database,
        "DELETE FROM public.posts p WHERE EXISTS (SELECT FROM public.posts q WHERE q.user_id = p.user_id "
        "AND q.audio_url = p.audio_url AND (q.created_at, q.id) < (p.created_at, p.id))",
    )
    assert [found(database, name) for name in PRESENT_IN_CLEAN_ROWS] == [[], [], []]


def test_the_demos_dirty_rows_are_all_found(empty_database: Options) -> None:
    load_demo(empty_database, 300, dirty=True, user_keys=True)
    blocking = {
        name
        for name, entry in preconditions().items()
        if entry["severity"] == "blocking" and found(empty_database, name)
    }
    assert blocking == {
        "blank_audio_url",
        "long_title",
        "size_or_duration_not_positive",
        "audio_post_without_profile",
        "track_with_id_of_a_post",
        "playlist_entry_of_text_post",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_precondition_is_not_asked_for_longer_than_it_can_be_answered(database: Options, version: str) -> None:
    """Until its version is applied every query runs, and none of the blocking ones trips over what we made."""
    apply(database, *[each for each in VERSIONS if each < version])
    for name, entry in preconditions().items():
        if entry["until"] is None or entry["until"] >= version:
            rows = found(database, name)
            assert entry["severity"] != "blocking" or rows == [], (name, rows)


def test_versions_are_in_the_plan() -> None:
    assert {PREPARE, MIGRATE} < set(VERSIONS)
