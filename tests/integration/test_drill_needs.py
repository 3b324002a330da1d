"""A drill makes what the dumped objects need by itself: extensions in their schema, and stubs of other schemas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.restore import prepare
from support.playbooks import Operator
from support.servers import SUPERUSER, Options, Server, connect, query, value
from support.tiny import load_shop, plan_of

RunModule = Callable[..., dict[str, Any]]

#: Everything that a schema leans on elsewhere, in the extension's schema {home}.
NEEDS = """
CREATE SCHEMA IF NOT EXISTS {home};
CREATE EXTENSION pgcrypto SCHEMA {home};
CREATE EXTENSION citext SCHEMA {home};
CREATE EXTENSION hstore SCHEMA {home} VERSION '1.4';
CREATE EXTENSION pg_trgm SCHEMA {home};
CREATE EXTENSION btree_gist SCHEMA {home};
CREATE EXTENSION cube SCHEMA {home};
CREATE SCHEMA "Other Things";
CREATE SCHEMA login;
CREATE TYPE login.level AS ENUM ('a', 'b''c');
CREATE TYPE "Other Things".pair AS (a int, level login.level);
CREATE DOMAIN "Other Things".short AS varchar(9) CHECK (length(VALUE) < 9);
CREATE TYPE "Other Things".spans AS RANGE (subtype = "Other Things".short);
CREATE COLLATION "Other Things".plain FROM "C";
CREATE SEQUENCE "Other Things".numbers;
CREATE TABLE login.users (id uuid PRIMARY KEY, email {home}.citext UNIQUE, phone varchar(20) NOT NULL,
    level login.level, extra jsonb NOT NULL);
CREATE VIEW login.people AS SELECT id, email, upper(phone) AS phone FROM login.users;
CREATE FUNCTION login.me() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT id FROM login.users LIMIT 1';
CREATE FUNCTION login.token(name text, size int DEFAULT 3, VARIADIC more text[] DEFAULT '{{}}') RETURNS text
    LANGUAGE plpgsql AS $$ BEGIN RETURN encode({home}.gen_random_bytes(size), 'hex'); END $$;
CREATE FUNCTION login.parts(OUT a int, OUT b "Other Things".pair) LANGUAGE sql AS
    $$ SELECT 1, (1, 'a')::"Other Things".pair $$;
CREATE FUNCTION login.rows_of(login.users) RETURNS SETOF login.people LANGUAGE sql STABLE
    AS 'SELECT * FROM login.people';
CREATE FUNCTION login.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION login.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION login.near(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 3';
CREATE OPERATOR login.~~~ (FUNCTION = login.near, LEFTARG = int, RIGHTARG = int);
GRANT USAGE ON SCHEMA {home}, login, "Other Things" TO postgres;
GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA login TO postgres;
GRANT USAGE ON "Other Things".numbers TO postgres;
GRANT CREATE, USAGE ON SCHEMA public TO postgres;

SET ROLE postgres;
CREATE TABLE public.things (
    id uuid PRIMARY KEY DEFAULT {home}.gen_random_uuid(),
    code text NOT NULL DEFAULT encode({home}.gen_random_bytes(6), 'hex'),
    token text DEFAULT login.token('x'),
    number int DEFAULT nextval('"Other Things".numbers'),
    twice int GENERATED ALWAYS AS (login.twice(7)) STORED,
    name {home}.citext,
    level login.level DEFAULT 'b''c',
    pairs "Other Things".pair[],
    short "Other Things".short,
    span "Other Things".spans,
    plain text COLLATE "Other Things".plain,
    extra {home}.hstore,
    place {home}.cube,
    owner uuid REFERENCES login.users ON DELETE CASCADE,
    mail {home}.citext REFERENCES login.users (email),
    during tsrange,
    EXCLUDE USING gist (owner WITH =, during WITH &&),
    CHECK (login.twice(number) > number),
    CHECK (number OPERATOR(login.~~~) number)
);
CREATE INDEX ON public.things USING gin (code {home}.gin_trgm_ops);
CREATE INDEX ON public.things (login.twice(number));
CREATE VIEW public.mails AS SELECT t.id, u.email, u.level FROM public.things t JOIN login.users u ON u.id = t.owner;
CREATE VIEW public.grouped AS SELECT u.id, u.email, count(*) FROM login.users u GROUP BY u.id;
CREATE VIEW public.seen AS SELECT p, (login.parts()).b FROM login.people p;
CREATE TRIGGER touch BEFORE UPDATE ON public.things FOR EACH ROW EXECUTE FUNCTION login.touch();
ALTER TABLE public.things ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.things TO authenticated USING (owner = login.me()
    AND EXISTS (SELECT FROM login.users u WHERE u.id = login.me() AND u.extra ? 'x'));
CREATE FUNCTION public.all_of(login.users) RETURNS SETOF login.people LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT * FROM login.rows_of($1); END;
RESET ROLE;
INSERT INTO login.users SELECT gen_random_uuid(), 'u' || n || '@x.org', n, 'a', '{{}}' FROM generate_series(1, 5) n;
INSERT INTO public.things (owner, mail, name, extra, pairs, short, place, during)
SELECT id, email, 'Name', 'a=>1', ARRAY[(1, 'a')::"Other Things".pair], 'x', '(1,2)',
    tsrange('2020-01-01', '2020-01-02') FROM login.users;
"""
FINGERPRINTS = [{"name": "things", "table": "public.things", "key": "id"}]


@pytest.fixture(autouse=True)
def _with_extensions(server: Server) -> None:
    """Skip where this build of the server comes without any."""
    if not value(server.options, "SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("this build of the server has no extensions")


def fill(options: Options, text: str) -> None:
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute(text)


def back_up(
    options: Options, run_module: RunModule, path: Path, schemas: tuple[str, ...] = ("public",)
) -> dict[str, Any]:
    taken = run_module(
        "pg_backup", connection=options, directory=str(path / "backup"), schemas=list(schemas), minimum_bytes=1,
        snapshot={"directory": str(path / "snapshot"), "fingerprints": FINGERPRINTS},
    )  # fmt: skip
    assert not taken["failed"], taken["msg"]
    return taken


@pytest.mark.parametrize("home", ["extensions", "public"])
def test_what_a_schema_needs_is_derived(
    empty_database: Options, run_module: RunModule, tmp_path: Path, home: str
) -> None:
    fill(empty_database, NEEDS.format(home=home))
    taken = back_up(empty_database, run_module, tmp_path)
    roles = value(empty_database, "SELECT array_agg(rolname ORDER BY 1)::text FROM pg_roles")
    found = run_module("pg_restore_drill", connection=empty_database, backup_directory=str(tmp_path / "backup"))
    assert not found["failed"], found["msg"]
    assert found["rows"] == {"public.things": 5}
    made = "\n".join(found["prepared"])
    for name in ("citext", "hstore 1.4", "pg_trgm", "btree_gist", "cube", "pgcrypto"):
        assert f"extension {name}" in made
    assert f"in schema {home}" in made
    assert "stub of table login.users" in made
    (users,) = (need for need in taken["manifest"]["needs"] if need["name"] == "login.users")
    assert [column.split()[0] for column in users["columns"]] == ['"id"', '"email"', '"phone"', '"level"', '"extra"']
    assert value(empty_database, "SELECT array_agg(rolname ORDER BY 1)::text FROM pg_roles") == roles


def test_only_the_columns_that_are_named_are_made(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    fill(
        empty_database,
        "CREATE SCHEMA login; CREATE TABLE login.users (id uuid PRIMARY KEY, secret text, email text, place point);"
        "CREATE TABLE public.things (id int PRIMARY KEY);"
        "CREATE VIEW public.mails AS SELECT email FROM login.users; ALTER TABLE public.things OWNER TO postgres;"
        "GRANT USAGE ON SCHEMA login TO postgres; ALTER VIEW public.mails OWNER TO postgres",
    )
    taken = back_up(empty_database, run_module, tmp_path)
    assert [need["columns"] for need in taken["manifest"]["needs"]] == [['"email" text']]


def test_a_version_that_is_not_available_falls_back_and_is_said(
    empty_database: Options, run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(empty_database, "CREATE EXTENSION citext; SET ROLE postgres; SET ROLE NONE;")
    fill(
        empty_database,
        "CREATE TABLE public.things (id int PRIMARY KEY, name citext); GRANT ALL ON public.things TO postgres",
    )
    back_up(empty_database, run_module, tmp_path)
    make_needs = prepare.make_needs
    monkeypatch.setattr(
        "ansible.module_utils.runbook.restore.drill.make_needs",
        lambda cursor, needs, path: make_needs(cursor, [{**need, "version": "0.9"} for need in needs], path),
    )
    found = run_module("pg_restore_drill", connection=empty_database, backup_directory=str(tmp_path / "backup"))
    assert not found["failed"], found["msg"]
    (made,) = found["prepared"]
    assert "version 0.9 is not available on this server" in made
    assert "version 0.9 is not available on this server" in found["msg"]


def test_what_no_catalog_knows_is_named_with_file_and_setting(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    fill(
        empty_database,
        "CREATE SCHEMA login; CREATE FUNCTION login.good(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';"
        "CREATE FUNCTION public.good(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RETURN login.good($1); END $$;"
        "CREATE TABLE public.things (id int PRIMARY KEY CHECK (public.good(id)), many text);"
        "INSERT INTO public.things VALUES (1); GRANT USAGE ON SCHEMA login TO postgres;"
        "GRANT ALL ON public.things TO postgres",
    )
    back_up(empty_database, run_module, tmp_path)
    wanted = {"connection": empty_database, "backup_directory": str(tmp_path / "backup")}
    file = tmp_path / "prerequisites.sql"
    file.write_text("SELECT 1")
    refused = run_module("pg_restore_drill", **wanted, prerequisites_file=str(file))
    assert refused["failed"]
    assert "failed with exit status 1: pg_restore: error: " in refused["msg"]
    assert "function login.good(integer) does not exist" in refused["msg"] or 'schema "login"' in refused["msg"]
    assert str(file) in refused["next_command"]
    assert "database_backup_restore_drill_options.prerequisites_file" in refused["next_command"]
    file.write_text(
        "CREATE SCHEMA login;CREATE FUNCTION login.good(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'"
    )
    assert not run_module("pg_restore_drill", **wanted, prerequisites_file=str(file))["failed"]


def test_no_role_is_made_on_the_server_of_the_live_database(
    empty_database: Options, run_module: RunModule, tmp_path: Path, server: Server
) -> None:
    owner = {**empty_database, "user": SUPERUSER}
    query(owner, "CREATE ROLE auditor; CREATE TABLE public.things (id int PRIMARY KEY)")
    query(owner, "GRANT ALL ON public.things TO postgres; GRANT SELECT ON public.things TO auditor")
    back_up(empty_database, run_module, tmp_path)
    query(owner, "DROP OWNED BY auditor; DROP ROLE auditor")
    wanted = {"connection": empty_database, "backup_directory": str(tmp_path / "backup")}
    # By another way to the same server too.
    for scratch in ({}, {"scratch_connection": server.options_for("postgres")}):
        found = run_module("pg_restore_drill", **wanted, **scratch)
        assert not found["failed"], found["msg"]
        assert any("ACL" in entry for entry in found["left_out"])
    file = tmp_path / "prerequisites.sql"
    file.write_text("CREATE ROLE clerk_of_the_drill")
    refused = run_module("pg_restore_drill", **wanted, prerequisites_file=str(file))
    assert "would create the role clerk_of_the_drill on the live database's server" in refused["msg"]
    assert query(owner, "SELECT 1 FROM pg_roles WHERE rolname IN ('auditor', 'clerk_of_the_drill')") == []


@pytest.mark.parametrize("home", ["extensions", "public"])
def test_a_supabase_like_schema_migrates_with_the_drill_and_the_plan_as_shipped(
    database: Options, tmp_path: Path, home: str
) -> None:
    fill(
        database,
        f"""
        CREATE SCHEMA IF NOT EXISTS {home};
        CREATE EXTENSION pgcrypto SCHEMA {home}; CREATE EXTENSION citext SCHEMA {home};
        CREATE EXTENSION pg_trgm SCHEMA {home}; CREATE EXTENSION btree_gist SCHEMA {home};
        GRANT USAGE ON SCHEMA {home} TO postgres, anon, authenticated, service_role;
        CREATE SCHEMA app_private; GRANT USAGE ON SCHEMA app_private TO postgres;
        CREATE FUNCTION app_private.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
        SET ROLE postgres;
        ALTER TABLE public.posts ADD share_code text DEFAULT encode({home}.gen_random_bytes(6), 'hex');
        ALTER TABLE public.profiles ADD handle {home}.citext;
        CREATE INDEX ON public.posts USING gin (content {home}.gin_trgm_ops);
        CREATE VIEW public.account_mails AS
            SELECT p.id, u.email FROM public.profiles p JOIN auth.users u ON u.id = p.id;
        CREATE TRIGGER note AFTER INSERT ON public.comments FOR EACH ROW EXECUTE FUNCTION app_private.note();
        CREATE TABLE public.bookings (id uuid PRIMARY KEY DEFAULT {home}.gen_random_uuid(), room uuid, at tstzrange,
            EXCLUDE USING gist (room WITH =, at WITH &&));
        """,
    )
    operator = Operator(tmp_path, database, database_backup_restore_drill=True)
    done = operator.type("migrate.yml")
    assert done.status == 0, done.screen
    assert "drilled: " in done.text
    assert operator.report()["state"].startswith("complete")


def test_preflight_names_what_the_drill_cannot_have(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    load_shop(empty_database)
    fill(
        empty_database,
        "CREATE EXTENSION cube; CREATE EXTENSION earthdistance; CREATE EXTENSION file_fdw;"
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
        "CREATE FOREIGN TABLE shop.lines (line text) SERVER files OPTIONS (filename '/dev/null');"
        "CREATE TABLE shop.spots (id int PRIMARY KEY, at public.earth);"
        "CREATE SCHEMA other; CREATE AGGREGATE other.total(int) (SFUNC = int4pl, STYPE = int);"
        "CREATE VIEW shop.totals AS SELECT other.total(id) FROM shop.spots",
    )
    plan = plan_of()
    file = tmp_path / "prerequisites.sql"
    file.write_text("-- nothing")
    drill = {"wanted": True, "prerequisites_file": str(file)}

    def found(**options: Any) -> dict[str, dict[str, Any]]:
        result = run_module(
            "pg_environment_info", connection=empty_database, plan=plan, fail_on_blocking=False,
            drill={**drill, **options},
        )  # fmt: skip
        return {entry["object"]: entry for entry in result["findings"] if entry["name"].startswith("drill_")}

    here = found()
    assert set(here) == {"earthdistance", "other.total(integer)", "files"}
    assert {entry["severity"] for entry in here.values()} == {"blocking"}
    assert "only a superuser can install" in here["earthdistance"]["found"]
    assert "table shop.spots" in here["earthdistance"]["found"]
    assert "database_backup_restore_drill_embedded: true" in here["earthdistance"]["repair"]
    assert str(file) in here["other.total(integer)"]["repair"]
    assert "database_backup_restore_drill_options.prerequisites_file" in here["other.total(integer)"]["repair"]
    assert set(found(elsewhere=True)) == {"other.total(integer)", "files"}
    assert found(wanted=False) == {}
    file.write_text("CREATE SCHEMA other; CREATE AGGREGATE other.total(int) (SFUNC = int4pl, STYPE = int);")
    assert set(found(elsewhere=True)) == {"files"}
    query({**empty_database, "user": SUPERUSER}, "DROP VIEW shop.totals; DROP FOREIGN TABLE shop.lines")
    query({**empty_database, "user": SUPERUSER}, "DROP TABLE shop.spots")
    assert found() == {}
