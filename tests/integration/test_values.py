"""Values that a database can hold and Python cannot: carried as text, compared by bytes, restored as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session, transaction
from ansible.module_utils.runbook.database.foreign_keys import foreign_keys, orphans
from ansible.module_utils.runbook.database.queries import first_rows, one_row
from support.playbooks import Operator
from support.servers import SUPERUSER, Options, Server, connect, query, value
from support.shop import query_file

RunModule = Callable[..., dict[str, Any]]
SETTINGS = SessionSettings(application_name="runbook test")

#: Type, a value, and one that is equal by its operator or in Python: the server's values must be distinguished.
PAIRS = [
    ("date", "'0044-03-15 BC'", "'0045-03-15 BC'"),
    ("date", "'infinity'", "'-infinity'"),
    ("timestamptz", "'0044-03-15 12:00+00 BC'", "'0044-03-15 12:00:00.000001+00 BC'"),
    ("timestamptz", "'infinity'", "'9999-12-31 23:59:59.999999+00'"),
    ("timestamp", "'294276-12-31 23:59:59.999999'", "'294276-12-31 23:59:59.999998'"),
    ("timestamp", "'-infinity'", "'0001-01-01'"),
    ("time", "'24:00'", "'00:00'"),
    ("timetz", "'10:00+01:00:30'", "'10:00+01:00:31'"),
    ("interval", "'1 mon'", "'30 days'"),
    ("interval", "'1 day'", "'24 hours'"),
    ("numeric", "1.0", "1.00"),
    ("numeric", "'NaN'", "'Infinity'"),
    ("numeric", "1e300", "1e300 + 1"),
    ("float8", "0", "'-0'"),
    ("float4", "'NaN'", "'Infinity'"),
    ("json", """'{"a":1}'""", """'{"a": 1}'"""),
    ("json", """'"\\u0000"'""", """'"\\u0001"'"""),
    ("jsonb", """'{"a": 1.0}'""", """'{"a": 1.00}'"""),
    ("jsonb", "'1e400'", "'1e401'"),
    ("text COLLATE public.ci", "'a'", "'A'"),
    ("text[] COLLATE public.ci", "'{a}'", "'{A}'"),
    ("public.citext", "'a'", "'A'"),
    ("bpchar", "'a'", "'a '"),
    ("int[]", "'[0:1]={1,2}'", "'{1,2}'"),
    ("int4range[]", "'{\"[1,2)\"}'", "'{\"[1,3)\"}'"),
    ("numrange", "'[1.0,2)'", "'[1.00,2)'"),
    ("public.pair", "row(1, 'a')", "row(1, 'b')"),
    ("money", "12.34::money", "12.35::money"),
    ("bytea", "'\\x00ff'", "'\\x00fe'"),
    ("point", "'(1,2)'", "'(1,3)'"),
    ("box", "'(1,1),(0,0)'", "'(2,0.5),(0,0)'"),
    ("xml", "'<a/>'", "'<a></a>'"),
    ("tsvector", "'a:1'", "'a:2'"),
    ("inet", "'10.0.0.1'", "'10.0.0.1/31'"),
    ("varbit", "'10'", "'100'"),
]
OBJECTS = """
CREATE EXTENSION citext SCHEMA public;
CREATE TYPE public.pair AS (a int, b text);
GRANT CREATE ON SCHEMA public TO postgres;
"""
COLLATION = "CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


@pytest.fixture
def odd(empty_database: Options) -> Options:
    """A table with a column for every pair, and a row with the first value of each."""
    if not value(empty_database, "SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("this build of the server has no extensions")
    with connect({**empty_database, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute(OBJECTS)
        try:
            cursor.execute(COLLATION)
        except psycopg2.errors.FeatureNotSupported:  # this build of the server has no ICU
            cursor.execute('CREATE COLLATION public.ci FROM "C"')
        cursor.execute("SET ROLE postgres")
        columns = ", ".join(f"c{number} {pair[0]}" for number, pair in enumerate(PAIRS))
        cursor.execute(f"CREATE TABLE public.odd (id int PRIMARY KEY, {columns})")
        cursor.execute(f"INSERT INTO public.odd VALUES (1, {', '.join(pair[1] for pair in PAIRS)})")
        cursor.execute("INSERT INTO public.odd (id) VALUES (2)")
    return empty_database


def text_of(options: Options, column: str) -> str:
    setting = {"options": "-c TimeZone=UTC -c IntervalStyle=iso_8601"}
    with connect(options, **setting) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT format('%s', {column}) FROM public.odd WHERE id = 1")
        return str((cursor.fetchone() or ("",))[0])


def test_every_value_is_shown_as_the_server_writes_it(odd: Options) -> None:
    with session(odd, SETTINGS) as connection, transaction(connection) as cursor:
        ((shown, nothing), total) = first_rows(cursor, "SELECT * FROM public.odd ORDER BY id")
        one = one_row(cursor, "SELECT * FROM public.odd WHERE id = 1")
        cursor.execute("SELECT * FROM public.odd")  # what no text cursor reads fails neither
        assert len(cursor.fetchall()) == total == 2
    for number, (kind, *_) in enumerate(PAIRS):
        column = f"c{number}"
        assert shown[column] == text_of(odd, column), kind
        if kind not in ("numeric", "float8", "float4"):
            assert one[column] == shown[column], kind
    assert set(nothing.values()) == {2, None}
    assert json.loads(json.dumps(one, allow_nan=False)) == one


def test_a_difference_that_an_equality_does_not_see_is_one(odd: Options, run_module: RunModule, tmp_path: Path) -> None:
    wanted = {"connection": odd, "directory": str(tmp_path / "snapshot")}
    fingerprint = {"name": "odd", "table": "public.odd", "key": "id"}
    taken = run_module("pg_snapshot", **wanted, state="taken", fingerprints=[fingerprint])
    assert not taken["failed"], taken["msg"]
    unseen = []
    with connect(odd) as connection, connection.cursor() as cursor:
        for number, (kind, first, other) in enumerate(PAIRS):
            cursor.execute(f"UPDATE public.odd SET c{number} = {other} WHERE id = 1")
            found = run_module("pg_snapshot", **wanted, state="compared", expectation="restore")
            if found["fingerprints"][0]["changed_keys"] != ["1"]:
                unseen.append((kind, first, other))
            cursor.execute(f"UPDATE public.odd SET c{number} = {first} WHERE id = 1")
    assert unseen == []
    assert not run_module("pg_snapshot", **wanted, state="compared", expectation="restore")["failed"]


def test_a_restore_brings_every_value_back(odd: Options, run_module: RunModule, tmp_path: Path) -> None:
    before = [text_of(odd, f"c{number}") for number in range(len(PAIRS))]
    snapshot = {
        "directory": str(tmp_path / "snapshot"),
        "fingerprints": [{"name": "odd", "table": "public.odd", "key": "id"}],
    }
    taken = run_module(
        "pg_backup", connection=odd, directory=str(tmp_path / "backup"), schemas=["public"], minimum_bytes=1,
        snapshot=snapshot,
    )  # fmt: skip
    assert not taken["failed"], taken["msg"]
    query(odd, "UPDATE public.odd SET " + ", ".join(f"c{number} = {pair[2]}" for number, pair in enumerate(PAIRS)))
    restored = run_module(
        "pg_restore", connection=odd, backup_directory=str(tmp_path / "backup"),
        tables=[{"table": "public.odd", "key": "id"}],
    )  # fmt: skip
    assert not restored["failed"], restored["msg"]
    assert [text_of(odd, f"c{number}") for number in range(len(PAIRS))] == before


@pytest.mark.parametrize("kind", ["public.citext", "public.ltree", "text COLLATE public.ci", "bpchar", "timestamptz"])
def test_rows_are_restored_by_keys_of_any_type(odd: Options, run_module: RunModule, tmp_path: Path, kind: str) -> None:
    keys = ("'infinity'", "'0044-03-15 BC'", "'2020-01-01'") if kind == "timestamptz" else ("'a'", "'b'", "'c'")
    other = "'-infinity'" if kind == "timestamptz" else "'A'"
    with connect({**odd, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION ltree SCHEMA public")
    query(odd, f"CREATE TABLE public.named (key {kind} PRIMARY KEY, note text)")
    query(odd, f"INSERT INTO public.named VALUES {', '.join(f'({key}, {number})' for number, key in enumerate(keys))}")
    before = query(odd, "SELECT key::text, note FROM public.named ORDER BY note")
    fingerprints = [{"name": "named", "table": "public.named", "key": "key"}]
    taken = run_module(
        "pg_backup", connection=odd, directory=str(tmp_path / "backup"), schemas=["public"], minimum_bytes=1,
        snapshot={"directory": str(tmp_path / "snapshot"), "fingerprints": fingerprints},
    )  # fmt: skip
    assert not taken["failed"], taken["msg"]
    query(odd, f"UPDATE public.named SET key = {other} WHERE key = {keys[0]}")
    query(odd, f"DELETE FROM public.named WHERE key = {keys[1]}")
    found = run_module(
        "pg_snapshot", connection=odd, directory=str(tmp_path / "snapshot"), state="compared", expectation="restore"
    )
    assert (found["fingerprints"][0]["missing"], found["fingerprints"][0]["extra"]) == (2, 1), found["msg"]
    restored = run_module(
        "pg_restore", connection=odd, backup_directory=str(tmp_path / "backup"),
        tables=[{"table": "public.named", "key": "key"}],
    )  # fmt: skip
    assert not restored["failed"], restored["msg"]
    assert query(odd, "SELECT key::text, note FROM public.named ORDER BY note") == before


def test_a_key_is_broken_where_its_own_equality_says_so(odd: Options) -> None:
    query(odd, "CREATE TABLE public.parents (name public.citext PRIMARY KEY)")
    query(odd, "CREATE TABLE public.children (id int PRIMARY KEY, parent public.citext REFERENCES public.parents)")
    query(odd, "INSERT INTO public.parents VALUES ('Ann'); INSERT INTO public.children VALUES (1, 'ANN')")
    other = (
        "" if value(odd, "SELECT collisdeterministic FROM pg_collation WHERE collname = 'ci'") else "COLLATE public.ci"
    )
    query(odd, f"CREATE TABLE public.texts (name text {other} PRIMARY KEY)")
    query(odd, "CREATE TABLE public.readers (id int PRIMARY KEY, name text REFERENCES public.texts)")
    query(
        odd,
        "INSERT INTO public.texts VALUES ('Ann'); INSERT INTO public.readers VALUES (1, %s)",
        ["ANN" if other else "Ann"],
    )
    with session(odd, SETTINGS) as connection, transaction(connection) as cursor:
        for key in foreign_keys(cursor, ["public.parents", "public.texts"]):
            assert orphans(cursor, key) == (0, []), key.to_text()


def test_a_database_of_another_encoding_is_read_and_compared(
    server: Server, run_module: RunModule, tmp_path: Path
) -> None:
    for encoding, names in (("LATIN1", "Käse,éé,z"), ("EUC_JP", "東京,京都,ｱｲ,z"), ("LATIN2", "Łódź,ąę,z")):
        with connect(server.superuser_options) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"CREATE DATABASE odd_{encoding.lower()} TEMPLATE template0 OWNER postgres ENCODING '{encoding}'"
                " LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        options = server.options_for(f"odd_{encoding.lower()}")
        with connect(options, client_encoding="UTF8") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE public.named (key text PRIMARY KEY, note text)")
            cursor.execute("INSERT INTO public.named SELECT name, name FROM unnest(%s) AS name", [names.split(",")])
        wanted = {"connection": options, "directory": str(tmp_path / encoding)}
        fingerprints = [{"name": "named", "table": "public.named", "key": "key"}]
        text = query_file(tmp_path, "all", "SELECT key FROM public.named ORDER BY key")
        samples = [{"name": "all", "query": text}]
        taken = run_module("pg_snapshot", **wanted, state="taken", fingerprints=fingerprints, samples=samples)
        assert not taken["failed"], taken["msg"]
        assert {row["key"] for row in taken["samples"][0]["before"]} == set(names.split(","))
        with connect(options, client_encoding="UTF8") as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE public.named SET note = 'z' WHERE key = %s", [names.split(",")[0]])
        found = run_module("pg_snapshot", **wanted, state="compared", expectation="restore")
        assert found["fingerprints"][0]["changed_keys"] == [names.split(",")[0]], found["msg"]
        server.drop_database(options)


ODD_TIMES = ("0044-03-15 BC", "infinity", "-infinity", "294276-01-01")
POSTS = (
    "SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM"
    " (SELECT id, content, audio_url, audio_filename, created_at, updated_at FROM public.posts) AS p"
)


def with_odd_times(options: Options) -> str:
    """Give rows of every table times that Python has no value for, some of posts whose title is made of it."""
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for number, time in enumerate(ODD_TIMES):
            for table, column in (("tracks", "created_at"), ("playlists", "updated_at"), ("comments", "created_at")):
                cursor.execute(
                    f"UPDATE public.{table} SET {column} = %s WHERE id ="
                    f" (SELECT id FROM public.{table} ORDER BY id OFFSET %s LIMIT 1)",
                    (time, number),
                )
            cursor.execute(
                "UPDATE public.posts SET created_at = %s, updated_at = %s,"
                " audio_filename = CASE WHEN post_type = 'audio' THEN ' ' END WHERE id IN"
                " (SELECT id FROM public.posts ORDER BY post_type, id OFFSET %s LIMIT 2)",
                (time, time, 2 * number),
            )
    return str(value(options, POSTS))


def test_a_run_over_times_outside_pythons_years_is_complete(database: Options, tmp_path: Path) -> None:
    before = with_odd_times(database)
    operator = Operator(tmp_path, database)
    done = operator.type("migrate.yml")
    assert done.status == 0, done.screen
    assert operator.report()["state"].startswith("complete")
    assert value(database, POSTS) == before
    titles = (
        "SELECT title FROM public.tracks t WHERE created_at IN ('infinity', '0044-03-15 BC') AND title LIKE 'Audio %'"
    )
    assert {"Audio from infinity", "Audio from 0044-03-15"} <= {title for (title,) in query(database, titles)}


@pytest.mark.slow  # the same values by the other ways
def test_times_outside_pythons_years_survive_reverse_and_restore(database: Options, tmp_path: Path) -> None:
    before = with_odd_times(database)
    operator = Operator(tmp_path, database, database_backup_restore_drill=True)
    for method in ("reverse", "restore"):
        for command in (["migrate.yml"], ["rollback.yml", "-e", f"method={method}", "-e", "confirm=test_database"]):
            done = operator.type(*command)
            assert done.status == 0, done.screen
        assert value(database, POSTS) == before
