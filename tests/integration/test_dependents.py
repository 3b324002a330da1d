"""Foreign keys with all their options, and what a DELETE or an UPDATE reaches through them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.runbook.database.dependents import Dependent, dependents, rows_reached
from ansible.module_utils.runbook.database.foreign_keys import foreign_keys, orphans
from psycopg2 import sql
from support.servers import Options, connect, query

SCHEMA = """
CREATE SCHEMA other;
CREATE TABLE public.song (id int PRIMARY KEY, slug text UNIQUE, owner int, UNIQUE (owner, id));
CREATE TABLE other.play (id int PRIMARY KEY, song int REFERENCES public.song ON DELETE CASCADE, day date);
CREATE TABLE other.receipt (play int REFERENCES other.play ON DELETE RESTRICT);
CREATE TABLE public.chart (
    place int PRIMARY KEY,
    song int UNIQUE REFERENCES public.song ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE public.chart_note (song int REFERENCES public.chart (song) ON UPDATE CASCADE);
CREATE TABLE public.by_slug (
    owner int DEFAULT 0, song int, slug text REFERENCES public.song (slug) ON UPDATE CASCADE ON DELETE SET DEFAULT,
    CONSTRAINT by_owner FOREIGN KEY (owner, song) REFERENCES public.song (owner, id) MATCH FULL
        ON DELETE SET NULL
);
CREATE TABLE public.event (song int REFERENCES public.song ON DELETE CASCADE, at date) PARTITION BY RANGE (at);
CREATE TABLE public.event_2026 PARTITION OF public.event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE public."Event.Note" (at date, song int REFERENCES public.song);
CREATE TABLE public.cycle (id int PRIMARY KEY, song int REFERENCES public.song ON DELETE CASCADE,
                           parent int REFERENCES public.cycle ON DELETE CASCADE);
"""
ROWS = """
INSERT INTO public.song VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 2);
INSERT INTO other.play VALUES (1, 1), (2, 1), (3, 2);
INSERT INTO other.receipt VALUES (1), (1), (3);
INSERT INTO public.chart VALUES (1, 1), (2, 3);
INSERT INTO public.chart_note VALUES (1), (3);
INSERT INTO public.by_slug VALUES (1, 1, 'a'), (2, 3, 'c');
INSERT INTO public.event VALUES (1, '2026-05-05'), (2, '2026-06-06');
INSERT INTO public."Event.Note" VALUES ('2026-05-05', 1);
INSERT INTO public.cycle VALUES (1, 1, NULL), (2, NULL, 1);
"""


@pytest.fixture
def songs(empty_database: Options) -> Options:
    query(empty_database, SCHEMA + ROWS)
    return empty_database


def found_in(options: Options, *tables: str, **more: Any) -> dict[str, Dependent]:
    with connect(options) as connection, connection.cursor() as cursor:
        return {f"{found.key.name} {found.effect}": found for found in dependents(cursor, tables, **more)}


def test_every_key_that_a_deletion_reaches_is_found_with_its_rows(songs: Options) -> None:
    found = found_in(songs, "public.song")
    with connect(songs) as connection, connection.cursor() as cursor:
        counted = {
            name: rows_reached(cursor, dependent, sql.SQL("{} = 1").format(sql.Identifier("root", "id")))
            for name, dependent in found.items()
            if dependent.root == "public.song"
        }

    assert counted == {
        "play_song_fkey delete": 2,
        "receipt_play_fkey refuse": 2,
        "chart_song_fkey set null": 1,
        "chart_note_song_fkey update": 1,
        "by_slug_slug_fkey set default": 1,
        "by_owner set null": 1,
        "event_song_fkey delete": 1,
        "Event.Note_song_fkey refuse": 1,
        "cycle_song_fkey delete": 1,
        "cycle_parent_fkey delete": 1,
    }
    assert [key.name for key in found["receipt_play_fkey refuse"].path] == ["play_song_fkey"]
    assert not found["chart_song_fkey set null"].path


def test_a_changed_column_reaches_only_the_keys_that_reference_it(songs: Options) -> None:
    assert set(found_in(songs, updated={"public.song": ["slug"]})) == {"by_slug_slug_fkey update"}


def test_a_key_is_found_from_a_partition_and_from_its_parent(songs: Options) -> None:
    query(
        songs,
        "CREATE TABLE public.part (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE public.of_all (part int REFERENCES public.part);"
        "CREATE TABLE public.of_one (part int REFERENCES public.part_1)",
    )
    for table in ("public.part", "public.part_1"):
        assert set(found_in(songs, table)) == {"of_all_part_fkey refuse", "of_one_part_fkey refuse"}, table


@pytest.mark.parametrize(
    ("hidden", "of_table"),
    [
        ("REVOKE ALL ON SCHEMA other FROM PUBLIC; REVOKE ALL ON SCHEMA other FROM postgres", "other.play"),
        ("ALTER TABLE other.play OWNER TO supabase_admin", "other.play"),
        ("ALTER TABLE public.event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "public.event"),
    ],
)
def test_rows_that_the_role_cannot_see_are_not_counted_as_none(songs: Options, hidden: str, of_table: str) -> None:
    admin = {**songs, "user": "supabase_admin"}
    query(admin, f"{hidden}; ALTER ROLE postgres NOBYPASSRLS")
    try:
        found = [one for one in found_in(songs, "public.song").values() if of_table in (one.key.child, one.key.parent)]
    finally:
        query(admin, "ALTER ROLE postgres BYPASSRLS")

    assert found
    assert not any(one.countable for one in found)


def test_a_key_keeps_all_its_options(songs: Options) -> None:
    with connect(songs) as connection, connection.cursor() as cursor:
        keys = {key.name: key for key in foreign_keys(cursor, ["public.song"])}

    chart, owner = keys["chart_song_fkey"], keys["by_owner"]
    assert (chart.on_delete, chart.on_update, chart.match) == ("SET NULL", "NO ACTION", "SIMPLE")
    assert (chart.deferrable, chart.initially_deferred, chart.enforced) == (True, True, True)
    assert (owner.on_delete, owner.match, owner.deferrable) == ("SET NULL", "FULL", False)
    assert owner.set_columns == owner.child_columns == ("owner", "song")
    assert "MATCH FULL ON DELETE SET NULL" in owner.definition
    assert keys["by_slug_slug_fkey"].on_update == "CASCADE"


def test_a_row_that_is_partly_null_breaks_a_full_match(songs: Options) -> None:
    admin = {**songs, "user": "supabase_admin"}
    query(
        admin,
        "SET session_replication_role = replica; INSERT INTO public.by_slug (owner, song)"
        " VALUES (7, NULL), (NULL, NULL), (9, 9)",
    )
    with connect(songs) as connection, connection.cursor() as cursor:
        (key,) = [key for key in foreign_keys(cursor, ["public.by_slug"]) if key.name == "by_owner"]
        count, values = orphans(cursor, key)
    assert (count, sorted(values)) == (2, ["7, null", "9, 9"])
