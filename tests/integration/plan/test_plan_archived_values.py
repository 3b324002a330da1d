"""A row that goes into the archive and comes back is the same, byte for byte, whatever the types of its columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from application import add_entry, make_playlist, make_user
from plan_sql import SETTINGS, VERSIONS, apply, plan, revert
from psycopg2 import sql
from support.modules import run_module
from support.servers import Options, connect, load_demo, query, value

DatabaseAt = Callable[[str], Options]
#: A value per type that a document of numbers, texts and lists does not hold as it is, or that is an extreme.
VALUES: dict[str, tuple[str, ...]] = {
    "bool": ("false",),
    "bytea": (r"\x00ff5c22",),
    '"char"': ("\\377", '"'),
    "name": ('a "name"',),
    "int2": ("-32768",),
    "int4": ("-2147483648",),
    "int8": ("9223372036854775807",),
    "oid": ("4294967295",),
    "text": ('a "b" \\ (c), \n\u2028é', "", "NULL"),
    "bpchar": ("trailing  ",),
    "varchar": ("trailing  ",),
    "char(5)": ("a",),
    "varchar(7)": ("a  ",),
    "tid": ("(4294967295,65535)",),
    "xid": ("4294967295",),
    "xid8": ("18446744073709551615",),
    "cid": ("4294967295",),
    "int2vector": ("1 -2 3",),
    "oidvector": ("1 2",),
    "json": ('{"b" : 1.0,\n "a": 1e2, "a":"\\u0000"}', '"text"', "null", "1.00"),
    "jsonb": ('{"a": 1.00, "b": "x"}', '"text"', "null", '"{\\"a\\": 1}"'),
    "jsonpath": ('$."a"[*]?(@ > 1)',),
    "xml": ("<a  b='1'/>text", "<!DOCTYPE a><a/>"),
    "point": ("(1e-300,-0)",),
    "lseg": ("[(0,0),(1,1)]",),
    "path": ("[(0,0),(1,1)]", "((0,0),(1,1))"),
    "box": ("(1,1),(0,0)",),
    "polygon": ("((0,0),(1,1))",),
    "line": ("{1,-1,0}",),
    "circle": ("<(0,0),2>",),
    "float4": ("-0", "1e-45", "NaN", "-Infinity", "0.1"),
    "float8": ("-0", "5e-324", "1.7976931348623157e+308", "NaN", "Infinity", "0.1"),
    "money": ("-92233720368547758.08",),
    "macaddr": ("08:00:2b:01:02:03",),
    "macaddr8": ("08:00:2b:01:02:03:04:05",),
    "inet": ("10.0.0.1/8", "10.0.0.1"),
    "cidr": ("10.0.0.0/8",),
    "aclitem": ("postgres=arwd/postgres",),
    "date": ("4713-01-01 BC", "5874897-12-31", "infinity", "-infinity"),
    "time": ("24:00:00", "00:00:00.000001"),
    "timetz": ("24:00:00-15:59:59",),
    "timestamp": ("4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity"),
    "timestamptz": ("4713-01-02 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "-infinity", "1890-01-01+00"),
    "timestamp(0)": ("2025-01-01 00:00:00",),
    "interval": ("-1 year +2 days -03:04:05.6", "178000000 years", "1 day -1 second"),
    "numeric": ("1.00", "NaN", "-Infinity", "1e-200", "1e300"),
    "numeric(6,3)": ("0.100",),
    "bit": ("1",),
    "bit(3)": ("011",),
    "varbit": ("0110", ""),
    "refcursor": ("a cursor",),
    "uuid": ("00000000-0000-0000-0000-000000000000",),
    "pg_lsn": ("FFFFFFFF/FFFFFFFF",),
    "tsvector": ("'a \\\\ ''b''':1A,2B c",),
    "tsquery": ("'a' <2> !( 'b':*A | 'c' )",),
    "txid_snapshot": ("10:20:10,14,15",),
    "pg_snapshot": ("10:20:10,14,15",),
    "regproc": ("array_out", "public.own_function"),
    "regprocedure": ("array_out(anyarray)", "public.own_function(public.own_composite)"),
    "regoper": ("||/", "public.@@@@"),
    "regoperator": ("pg_catalog.+(integer,integer)", "public.@@@@(integer,integer)"),
    "regclass": ("public.posts", "pg_class", 'public."Odd, Name"'),
    "regcollation": ('"C"',),
    "regtype": ("integer", "public.own_enum[]"),
    "regconfig": ("simple", "public.own_configuration"),
    "regdictionary": ("simple",),
    "regnamespace": ("public",),
    "regrole": ("authenticated",),
    "int4range": ("[1,5)", "empty", "(,)"),
    "numrange": ("(1.00,1.000]",),
    "tsrange": ('["2025-01-01 00:00:00",infinity]',),
    "tstzrange": ('["2025-01-01 00:00:00+00",)',),
    "daterange": ("[2025-01-02,2025-02-01)",),
    "int8range": ("[1,5)",),
    "int4multirange": ("{[1,2),[4,5)}",),
    "nummultirange": ("{[1.0,2.00)}",),
    "tsmultirange": ('{["2025-01-01 00:00:00",)}',),
    "tstzmultirange": ('{["2025-01-01 00:00:00+00",)}',),
    "datemultirange": ("{[2025-01-02,2025-02-01)}",),
    "int8multirange": ("{}",),
    "public.own_enum": ("a, b",),
    "public.own_domain": ("1.50",),
    "public.own_document": ('{"b":1,  "a":2}',),
    "public.own_documents": ('{"{\\"b\\":1,  \\"a\\":2}"}',),
    "public.own_composite": ('(1,"{""b"":1,  ""a"":2}","{NULL,""x""}")', "(,,)"),
    "public.own_range": ("(-0,1]",),
    "text[]": ("[0:1]={a,NULL}", "{}", '{{a,"NULL"},{"",d}}', "[-1:-1][2:3]={{1,2}}"),
    "date[]": ('{"0044-03-15 BC",infinity}',),
    "public.own_composite[]": ('{"(1,\\"{}\\",)"}',),
}
#: Their text is nothing that the server reads.
WITHOUT_INPUT = {
    "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary", "gtsvector",
}  # fmt: skip
TYPES = """
CREATE TYPE public.own_enum AS ENUM ('a, b', 'c');
CREATE DOMAIN public.own_domain AS numeric CHECK (VALUE > 0);
CREATE DOMAIN public.own_document AS json;
CREATE DOMAIN public.own_documents AS json[];
CREATE TYPE public.own_composite AS (number integer, document json, list text[]);
CREATE TYPE public.own_range AS RANGE (subtype = float8);
CREATE TABLE public."Odd, Name" (id integer);
CREATE FUNCTION public.own_function(public.own_composite) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR public.@@@@ (FUNCTION = int4pl, LEFTARG = integer, RIGHTARG = integer);
CREATE TEXT SEARCH CONFIGURATION public.own_configuration (COPY = simple);
"""
COLUMNS = [(f"odd {number} {kind}", kind, values) for number, (kind, values) in enumerate(VALUES.items())]
PLACES = max(len(values) for values in VALUES.values())
FILE = "https://cdn.example.org/same.mp3"
#: What another session may have when it archives a row, or puts it back.
ELSEWHERE = {
    **SETTINGS, "datestyle": "SQL,DMY", "intervalstyle": "sql_standard", "extra_float_digits": "0",
    "timezone": "Asia/Tokyo", "bytea_output": "escape", "xmloption": "document",
}  # fmt: skip
TABLES = ("tracks", "playlist_tracks")


def columns_for(options: Options, table: str) -> None:
    query(
        {**options, "user": "supabase_admin"},
        sql.SQL("ALTER TABLE public.{} {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(
                sql.SQL("ADD {} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind, _ in COLUMNS
            ),
        ),
    )


def fill(options: Options, table: str, key: str, place: int) -> None:
    """Give a row the values at this place; from the last place on of a type, NULL."""
    given = [(name, kind, values[place]) for name, kind, values in COLUMNS if place < len(values)]
    query(
        {**options, "user": "supabase_admin"},
        sql.SQL("UPDATE public.{} SET {} WHERE id = {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(
                sql.SQL("{} = {}::text::{}").format(sql.Identifier(name), sql.Literal(text), sql.SQL(kind))
                if kind not in ('"char"', "name")
                else sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(text))
                for name, kind, text in given
            ),
            sql.Literal(key),
        ),
    )


def texts(options: Options, table: str) -> dict[str, dict[str, str]]:
    """Every row by its id, each column as the server writes it."""
    with connect(options, options="-c search_path=pg_catalog -c timezone=UTC") as connection, connection.cursor() as c:
        c.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attname",
            (f"public.{table}",),
        )
        names = [name for (name,) in c.fetchall()]
        c.execute(
            sql.SQL("SELECT id::text, {} FROM public.{}").format(
                sql.SQL(", ").join(
                    sql.SQL("CASE WHEN num_nulls({0}) = 0 THEN format('%s', {0}) END").format(sql.Identifier(name))
                    for name in names
                ),
                sql.Identifier(table),
            )
        )
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in c.fetchall()}


def differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[Any]:
    assert set(after) == set(before)
    return [
        (name, text, after[key].get(name))
        for key, row in before.items()
        for name, text in row.items()
        if after[key].get(name) != text
    ]


def test_every_type_of_the_server_has_a_value_here(database: Options) -> None:
    found = query(
        database,
        "SELECT typname::text FROM pg_type WHERE typtype IN ('b', 'r', 'm')"
        " AND typnamespace = 'pg_catalog'::regnamespace AND typcategory <> 'A' AND typname <> 'char'",
    )
    assert {name for (name,) in found} - set(VALUES) - WITHOUT_INPUT == set()


@pytest.fixture
def odd_tables(empty_database: Options) -> Options:
    load_demo(empty_database, 30)
    query({**empty_database, "user": "supabase_admin"}, TYPES)
    for table in TABLES:
        columns_for(empty_database, table)
    return empty_database


def test_tracks_of_every_type_come_back_as_they_were(odd_tables: Options) -> None:
    apply(odd_tables, *VERSIONS, settings=ELSEWHERE)
    made = [key for (key,) in query(odd_tables, "SELECT p.track_id FROM public.posts AS p WHERE p.track_id = p.id")]
    for place, key in enumerate(made[:PLACES]):
        fill(odd_tables, "tracks", key, place)
    before = texts(odd_tables, "tracks")
    revert(odd_tables, *VERSIONS)
    assert len(texts(odd_tables, "tracks")) < len(before)
    apply(odd_tables, *VERSIONS, settings=ELSEWHERE)
    assert differences(before, texts(odd_tables, "tracks")) == []


def test_entries_of_every_type_come_back_as_they_were(odd_tables: Options) -> None:
    user = make_user(odd_tables)
    first, second, text = (
        value(odd_tables, "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
              " VALUES (%s, 'x', %s, %s, %s) RETURNING id", (user, *kind))
        for kind in (("audio", FILE, "a.mp3"), ("audio", FILE, "a.mp3"), ("text", None, None))
    )  # fmt: skip
    lost = []
    for place in range(PLACES):
        playlist = make_playlist(odd_tables, user)
        with connect(odd_tables) as session:
            add_entry(session, playlist, first, 0)
            # One entry that collapses into the first, one without a track.
            for position, post in enumerate((second, text), 1):
                ((key, _),) = add_entry(session, playlist, post, position)
                lost.append(key)
                fill(odd_tables, "playlist_tracks", key, place)
    before = texts(odd_tables, "playlist_tracks")
    apply(odd_tables, *VERSIONS, settings=ELSEWHERE)
    assert not {*lost} & set(texts(odd_tables, "playlist_tracks"))
    revert(odd_tables, *VERSIONS)
    assert differences(before, texts(odd_tables, "playlist_tracks")) == []


ADDED = """
ALTER TABLE public.{table}
    ADD licence text DEFAULT 'all rights reserved', ADD number bigint GENERATED ALWAYS AS IDENTITY,
    ADD token uuid DEFAULT gen_random_uuid(), ADD required integer NOT NULL DEFAULT 7, ADD note text
"""


def test_columns_added_between_get_their_default_in_tracks_that_come_back(empty_database: Options) -> None:
    load_demo(empty_database, 30)
    query(empty_database, "ALTER TABLE public.tracks ADD mood text DEFAULT 'calm'")
    apply(empty_database, *VERSIONS)
    query(empty_database, "UPDATE public.tracks SET mood = NULL")
    revert(empty_database, *VERSIONS)
    query(empty_database, ADDED.format(table="tracks"))
    apply(empty_database, *VERSIONS)
    made = query(
        empty_database, "SELECT licence, number, token, required, note, mood FROM public.tracks AS t"
        " JOIN public.posts AS p ON p.id = t.id"
    )  # fmt: skip
    assert len(made) > 10
    assert {(row[0], *row[3:]) for row in made} == {("all rights reserved", 7, None, None)}
    assert len({row[1] for row in made}) == len({row[2] for row in made}) == len(made)
    assert None not in {value for row in made for value in row[1:3]}


def test_columns_added_between_get_their_default_in_entries_that_come_back(database_at: DatabaseAt) -> None:
    options = database_at(VERSIONS[-1])
    user = make_user(options)
    track = value(
        options, "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'x', %s) RETURNING id", (user, FILE)
    )
    with connect(options) as session:
        first = add_entry(session, make_playlist(options, user), track, 0)[0][0]
    revert(options, *VERSIONS)
    query(options, ADDED.format(table="playlist_tracks"))
    apply(options, *VERSIONS)
    of_entry = ("SELECT licence, number IS NULL, required FROM public.playlist_tracks WHERE id = %s", (first,))
    assert query(options, *of_entry) == [("all rights reserved", False, 7)]
    query(options, "UPDATE public.playlist_tracks SET licence = NULL WHERE id = %s", (first,))
    revert(options, *VERSIONS)
    apply(options, *VERSIONS)
    assert query(options, *of_entry) == [(None, False, 7)]


@pytest.mark.parametrize("version", [None, VERSIONS[-1]])
def test_rows_that_a_repair_archives_come_back_as_they_were(odd_tables: Options, version: str | None) -> None:
    if version:
        apply(odd_tables, *VERSIONS)
    superuser = {**odd_tables, "user": "supabase_admin"}
    query(superuser, "ALTER TABLE auth.users DISABLE TRIGGER ALL")
    owner = value(superuser, "INSERT INTO auth.users (id) VALUES (gen_random_uuid()) RETURNING id")
    query(superuser, "ALTER TABLE public.tracks DISABLE TRIGGER ALL")
    insert = "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'x', %s) RETURNING id"
    for place in range(PLACES):
        fill(odd_tables, "tracks", value(odd_tables, insert, (owner, f"{FILE}?{place}")), place)
    query(superuser, "ALTER TABLE public.tracks ENABLE TRIGGER ALL")
    before = texts(odd_tables, "tracks")
    common = {"connection": dict(odd_tables), "plan": plan()}
    archived = run_module("pg_repair", **common, issue="constraint_violation", apply=True)
    assert archived["rows_archived"] == PLACES, archived["msg"]
    query(superuser, "INSERT INTO public.profiles (id, username) VALUES (%s, 'x')", (owner,))
    given = {"genre": "folk", "odd 19 json": {"a": [1]}}
    restored = run_module("pg_restore_archived", **common, archived_by=archived["repair_id"], values=given)
    assert restored["rows_restored"] == PLACES, restored["msg"]
    changed = differences(before, texts(odd_tables, "tracks"))
    assert {name for name, *_ in changed} == {*given}
    assert {text for _, _, text in changed} == {"folk", '{"a": [1]}'}


def test_rows_that_a_restore_puts_back_are_as_they_were(odd_tables: Options, tmp_path: Path) -> None:
    insert = "INSERT INTO public.tracks (user_id, title, file_url) SELECT id, 'x', 'y' FROM public.profiles LIMIT 1"
    keys = [value(odd_tables, f"{insert} RETURNING id") for _ in range(PLACES)]
    for place, key in enumerate(keys):
        fill(odd_tables, "tracks", key, place)
    before = texts(odd_tables, "tracks")
    snapshot = {
        "directory": str(tmp_path / "snapshot"),
        "fingerprints": [{"name": "tracks", "table": "public.tracks", "key": "id"}],
    }
    backup = {"connection": dict(odd_tables), "directory": str(tmp_path / "backup")}
    taken = run_module("pg_backup", **backup, schemas=["public"], minimum_bytes=1, snapshot=snapshot)
    assert not taken["failed"], taken["msg"]
    superuser = {**odd_tables, "user": "supabase_admin"}
    for place, key in enumerate(keys):
        fill(odd_tables, "tracks", key, (place + 1) % PLACES)
    query(superuser, "DELETE FROM public.tracks WHERE id = %s", (keys[0],))
    restored = run_module(
        "pg_restore", connection=dict(odd_tables), backup_directory=backup["directory"],
        tables=[{"table": "public.tracks", "key": "id"}],
    )  # fmt: skip
    assert not restored["failed"], restored["msg"]
    assert differences(before, texts(odd_tables, "tracks")) == []
