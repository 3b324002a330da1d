"""Trials on a shop: the environment they see, what they do not change, blockers, and code that they must not call."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import Connection, SessionSettings, session, transaction
from ansible.module_utils.runbook.migration.step_trials import StepTrials
from ansible.module_utils.runbook.verification.trials.catalog_state import catalog_state
from ansible.module_utils.runbook.verification.trials.outcome import Result
from ansible.module_utils.runbook.verification.trials.runner import Acceptance, rolled_back, run_trials
from ansible.module_utils.runbook.verification.trials.trial import Trial, read_trial
from psycopg2 import sql
from support.migrated import Migrated
from support.orders import PLAN as ORDERS_PLAN
from support.orders import create_shop, orders_plan, write_file
from support.servers import Options, connect, query, value

SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE shop.orders (
    id integer PRIMARY KEY, customer integer NOT NULL REFERENCES shop.customers ON DELETE CASCADE, note text);
CREATE TABLE shop.quiet (id integer PRIMARY KEY);
INSERT INTO shop.customers SELECT n, 'customer ' || n FROM generate_series(1, 5) AS n;
INSERT INTO shop.orders SELECT n, 1 + n % 5, 'note' FROM generate_series(1, 20) AS n;
INSERT INTO shop.quiet VALUES (1);
GRANT USAGE ON SCHEMA shop TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO authenticated;
CREATE SEQUENCE shop.fired;
GRANT USAGE ON SEQUENCE shop.fired TO PUBLIC;
"""

UPDATE = """
-- pick: a customer
SELECT id FROM shop.customers ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
-- expect: 1 row
UPDATE shop.customers SET name = 'changed 100%' WHERE id = %(id)s;
-- effect: the name
SELECT name = 'changed 100%' AS has_the_name FROM shop.customers WHERE id = %(id)s;
"""
DELETE = UPDATE.replace("UPDATE shop.customers SET name = 'changed 100%'", "DELETE FROM shop.customers").replace(
    "SELECT name = 'changed 100%' AS has_the_name FROM shop.customers WHERE id = %(id)s",
    "SELECT count(*) = 0 AS is_gone FROM shop.customers WHERE id = %(id)s",
)
QUIET = """
-- pick: a row
SELECT id FROM shop.quiet LIMIT 1 FOR UPDATE SKIP LOCKED;
-- expect: 1 row
UPDATE shop.quiet SET id = id + 1 WHERE id = %(id)s;
-- effect: another id
SELECT count(*) = 1 AS is_there FROM shop.quiet WHERE id = %(id)s + 1;
"""

FIRE = (
    "CREATE SCHEMA IF NOT EXISTS net;"
    " CREATE FUNCTION net.http_post(url text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS"
    " $$ SELECT nextval('shop.fired') $$;"
    " GRANT USAGE ON SCHEMA net TO PUBLIC;"
)
PLPGSQL = "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {} RETURN NULL; END $$;"


@pytest.fixture
def shop(empty_database: Options) -> Options:
    query(empty_database, SHOP)
    return empty_database


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., Trial]:
    """Make a trial from the text of its file."""

    def make(text: str, **given: Any) -> Trial:
        name = str(given.pop("name", "change_name"))
        path = tmp_path / f"{name}.sql"
        path.write_text(text)
        usual = {"title": "Change the name", "by": "old", "role": "authenticated", "login_role": "", "settings": {}}
        return Trial(name=name, file=read_trial(str(path)), **{**usual, **given})

    return make


def run(options: Options, *trials: Trial, accepted: Acceptance | None = None, **settings: str) -> list[Result]:
    with (
        session(options, SessionSettings(settings=settings)) as connection,
        rolled_back(connection) as cursor,
    ):
        return run_trials(cursor, trials, accepted or Acceptance(), list(settings))


# ------------------------------------------------------------------ the environment


def test_a_function_that_ran_before_the_step_meets_the_table_as_the_step_leaves_it(
    shop: Options, trial: Callable[..., Trial]
) -> None:
    """Sessions of the application that open later have no plan from before; neither may a trial."""
    query(
        shop,
        "CREATE TABLE shop.old_customers AS SELECT * FROM shop.customers WITH NO DATA;"
        " CREATE FUNCTION shop.keep() "
        + PLPGSQL.format("INSERT INTO shop.old_customers SELECT OLD.*;")
        + " CREATE TRIGGER keep AFTER UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.keep()",
    )
    change = trial(UPDATE)
    with session(shop, SessionSettings()) as connection, rolled_back(connection) as cursor:
        (before,) = run_trials(cursor, [change], Acceptance())
        cursor.execute("ALTER TABLE shop.customers ADD COLUMN phone text")
        (after,) = run_trials(cursor, [change], Acceptance(), in_step=True)
    assert before.outcome == "passed", before.why
    assert (after.outcome, after.sqlstate) == ("failed", "42601"), after.why
    assert after.object == "trigger keep on shop.customers (function shop.keep)"


def test_a_trial_sees_what_the_application_sees_and_nothing_of_ours(shop: Options, trial: Callable[..., Trial]) -> None:
    admin, name = {**shop, "user": "supabase_admin"}, sql.Identifier(str(shop["dbname"]))
    with connect(admin) as connection, connection.cursor() as cursor:
        for statement in (
            "ALTER DATABASE {} SET search_path = shop, public",
            "ALTER DATABASE {} SET app.color = 'blue'",
            "ALTER ROLE authenticator IN DATABASE {} SET \"TimeZone\" = 'Asia/Tokyo'",
            "ALTER ROLE authenticator IN DATABASE {} SET app.color = 'green'",
            "ALTER ROLE postgres IN DATABASE {} SET row_security = off",
            "ALTER ROLE postgres IN DATABASE {} SET \"DateStyle\" = 'German'",
        ):
            cursor.execute(sql.SQL(statement).format(name))
    text = """
-- pick: a customer
SELECT id FROM shop.customers ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
-- expect: 1 row
UPDATE customers SET name = current_setting('search_path') WHERE id = %(id)s;
-- effect: what is set
SELECT
    current_setting('search_path') = 'shop, public' AS path_of_the_database,
    current_setting('TimeZone') = 'Asia/Tokyo' AS zone_of_the_login_role,
    current_setting('app.color') = 'green' AS role_before_database,
    current_setting('DateStyle') = 'ISO, MDY' AS not_that_of_our_role,
    current_setting('row_security') = 'on' AS row_security,
    current_setting('session_replication_role') = 'origin' AS origin,
    coalesce(current_setting('runbook.run_id', true), '') = '' AS no_run,
    coalesce(current_setting('orders_split.keep_notes', true), '') = '' AS no_setting_of_the_plan,
    current_setting('request.jwt.claims')::jsonb ->> 'sub' = '1' AS claim,
    current_user = 'authenticated' AS role
"""
    claims = {"request.jwt.claims": '{"sub": "%(id)s"}'}
    (result,) = run(
        shop,
        trial(text, login_role="authenticator", settings=claims),
        **{"runbook.run_id": "x", "orders_split.keep_notes": "true", "session_replication_role": "replica"},
    )
    assert (result.outcome, result.why) == ("passed", "")


@pytest.mark.parametrize("login_role", ["authenticator", "", "supabase_auth_admin"])
def test_a_role_that_the_application_acts_as_brings_what_postgrest_sets_for_it(
    shop: Options, trial: Callable[..., Trial], login_role: str
) -> None:
    admin = {**shop, "user": "supabase_admin"}
    database = sql.Identifier(str(shop["dbname"]))
    for statement in (
        "CREATE ROLE acted_as",
        "GRANT acted_as TO authenticator, postgres",
        "GRANT authenticated TO acted_as",
        "ALTER ROLE acted_as SET \"TimeZone\" = 'Asia/Tokyo'",
        "ALTER ROLE acted_as SET \"DateStyle\" = 'German'",
        "ALTER ROLE acted_as SET log_min_messages = 'panic'",
        "ALTER ROLE acted_as SET statement_timeout = '1ms'",
        "ALTER ROLE acted_as IN DATABASE {} SET bytea_output = 'escape'",
        "ALTER ROLE authenticator IN DATABASE {} SET \"TimeZone\" = 'UTC'",
        "ALTER ROLE authenticator IN DATABASE {} SET \"DateStyle\" = 'ISO, DMY'",
    ):
        query(admin, sql.SQL(statement).format(database))
    text = UPDATE.replace(
        "'changed 100%'",
        "concat_ws(' ', current_setting('TimeZone'), current_setting('DateStyle'),"
        " current_setting('bytea_output'), current_setting('log_min_messages'))",
        1,
    )
    expected = {"authenticator": "Asia/Tokyo German, DMY hex warning"}.get(login_role, "Etc/UTC ISO, MDY hex warning")
    zone = value(shop, "SHOW timezone")
    text = text.replace("'changed 100%'", "'" + expected.replace("Etc/UTC", str(zone)) + "'")
    try:
        (result,) = run(shop, trial(text, role="acted_as", login_role=login_role))
    finally:
        query(admin, "DROP OWNED BY acted_as; DROP ROLE acted_as")
    assert (result.outcome, result.why) == ("passed", "")


def test_a_trial_inside_a_transaction_leaves_its_settings_role_and_locks_as_they_were(
    shop: Options, trial: Callable[..., Trial]
) -> None:
    settings = {"runbook.run_id": "kept"}
    seen = "SELECT current_user, current_setting('search_path'), current_setting('runbook.run_id'), name"
    seen += " FROM shop.customers WHERE id = 1"
    with session(shop, SessionSettings(settings=settings)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE shop.customers IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout = '7s'")
        cursor.execute(seen)
        before = cursor.fetchall()
        (result,) = run_trials(cursor, [trial(UPDATE)], Acceptance(), in_step=True)
        cursor.execute(seen)
        assert cursor.fetchall() == before
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("7s",)
        cursor.execute("COMMIT")
    assert result.outcome == "passed"
    assert value(shop, "SELECT count(*) FROM shop.customers WHERE name LIKE 'changed%'") == 0


def test_a_trial_without_a_row_has_nothing_to_examine(shop: Options, trial: Callable[..., Trial]) -> None:
    query(shop, "DELETE FROM shop.customers")
    (result,) = run(shop, trial(UPDATE))
    assert (result.outcome, result.why) == ("nothing_to_examine", "no row to work on: a customer")


@pytest.mark.parametrize(("role", "why"), [("moderation_admin", "permission denied"), ("nobody", "does not exist")])
def test_a_role_that_cannot_be_set_is_not_examined(
    shop: Options, trial: Callable[..., Trial], role: str, why: str
) -> None:
    (result,) = run(shop, trial(UPDATE, role=role))
    assert result.outcome == "not_examined"
    assert result.why.startswith(f"the environment of {role} could not be set: ")
    assert why in result.why


# ------------------------------------------------------------------ blockers


def test_a_lock_of_another_session_gives_no_answer_and_stops_nobody_else(
    shop: Options, trial: Callable[..., Trial]
) -> None:
    with connect(shop) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        deleted, quiet = run(shop, trial(DELETE), trial(QUIET, name="quiet"))
        took = time.monotonic() - began
        cursor.execute("ROLLBACK")
    assert deleted.outcome == "not_examined"
    assert "lock timeout" in deleted.why
    assert quiet.outcome == "passed"
    assert took < 1.0
    assert run(shop, trial(DELETE))[0].outcome == "passed"


def test_a_lock_that_goes_away_is_waited_for(shop: Options, trial: Callable[..., Trial]) -> None:
    with connect(shop) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE")
        # The other session's time is up in the midst of the first attempts.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '80ms'")
        assert run(shop, trial(DELETE))[0].outcome == "passed"


def test_rows_that_others_have_locked_are_left_to_them(shop: Options, trial: Callable[..., Trial]) -> None:
    with connect(shop) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM shop.customers FOR UPDATE")
        assert run(shop, trial(UPDATE))[0].outcome == "nothing_to_examine"
        cursor.execute("ROLLBACK")


def test_a_trial_ends_after_a_quarter_of_a_second(shop: Options, trial: Callable[..., Trial]) -> None:
    query(
        shop,
        "CREATE FUNCTION shop.slow() "
        + PLPGSQL.format("PERFORM pg_sleep(5);")
        + " CREATE TRIGGER slow AFTER UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.slow()",
    )
    (result,) = run(shop, trial(UPDATE))
    assert result.outcome == "not_examined"
    assert "statement timeout" in result.why
    assert result.milliseconds < 400


# ------------------------------------------------------------------ what must not be set off


DANGERS = {
    "a trigger that calls http": (
        "CREATE FUNCTION shop.tell() "
        + PLPGSQL.format("PERFORM net.http_post('https://x');")
        + " CREATE TRIGGER tell AFTER DELETE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.tell()",
        "shop.tell",
    ),
    "on a row that the cascade deletes": (
        "CREATE FUNCTION shop.tell() "
        + PLPGSQL.format("PERFORM net.http_post('https://x');")
        + " CREATE TRIGGER tell AFTER DELETE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.tell()",
        "shop.tell",
    ),
    "through a table that a trigger writes, and a function in between": (
        "CREATE TABLE shop.log (at timestamptz);"
        " CREATE FUNCTION shop.inner() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT net.http_post('x') $$;"
        " CREATE FUNCTION shop.tell() "
        + PLPGSQL.format("PERFORM shop.inner();")
        + " CREATE TRIGGER tell AFTER INSERT ON shop.log FOR EACH ROW EXECUTE FUNCTION shop.tell();"
        " CREATE FUNCTION shop.note() "
        + PLPGSQL.format("EXECUTE format('INSERT INTO %I.log VALUES (now())', 'shop');")
        + " CREATE TRIGGER note AFTER DELETE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.note()",
        "shop.inner",
    ),
    "a name that is put together at run time": (
        "CREATE FUNCTION shop.tell() "
        + PLPGSQL.format("EXECUTE 'SELECT net.http_post(''x'')';")
        + " CREATE TRIGGER tell BEFORE DELETE ON shop.customers FOR EACH STATEMENT EXECUTE FUNCTION shop.tell()",
        "shop.tell",
    ),
    "a default that calls http": (
        "CREATE TABLE shop.gone (id integer, told bigint DEFAULT net.http_post('x'));"
        " GRANT INSERT ON shop.gone TO authenticated;"
        " CREATE RULE gone AS ON DELETE TO shop.customers DO ALSO INSERT INTO shop.gone (id) VALUES (OLD.id)",
        "net.http_post",
    ),
}


@pytest.mark.parametrize("danger", DANGERS)
def test_what_a_rollback_does_not_undo_is_not_set_off(shop: Options, trial: Callable[..., Trial], danger: str) -> None:
    statement, named = DANGERS[danger]
    query({**shop, "user": "supabase_admin"}, FIRE + statement)
    deleted, quiet = run(shop, trial(DELETE), trial(QUIET, name="quiet"))
    assert deleted.outcome == "not_examined", deleted
    assert named in deleted.reached
    assert "not run: its statements can reach" in deleted.why
    assert quiet.outcome == "passed"
    assert value(shop, "SELECT is_called FROM shop.fired") is False
    (accepted,) = run(shop, trial(DELETE), accepted=Acceptance(frozenset(deleted.reached)))
    assert accepted.outcome == "passed", accepted
    assert value(shop, "SELECT is_called FROM shop.fired") is True


@pytest.mark.parametrize(
    ("extension", "statement", "named"),
    [
        (
            "moddatetime",
            "ALTER TABLE shop.customers ADD at timestamptz;"
            " CREATE TRIGGER at BEFORE UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION public.moddatetime(at)",
            "public.moddatetime",
        ),
        (
            "postgres_fdw",
            "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;"
            " CREATE FOREIGN TABLE shop.far (id integer) SERVER far;"
            " CREATE FUNCTION shop.copy() "
            + PLPGSQL.format("INSERT INTO shop.far VALUES (NEW.id);")
            + " CREATE TRIGGER copy AFTER UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.copy()",
            "shop.far",
        ),
        (
            "dblink",
            "CREATE FUNCTION shop.copy() "
            + PLPGSQL.format("PERFORM public.dblink_exec('far', 'SELECT 1');")
            + " CREATE TRIGGER copy AFTER UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.copy()",
            "shop.copy",
        ),
    ],
)
def test_untrusted_languages_and_foreign_tables_are_not_reached(
    shop: Options, trial: Callable[..., Trial], extension: str, statement: str, named: str
) -> None:
    query({**shop, "user": "supabase_admin"}, f"CREATE EXTENSION {extension} SCHEMA public; {statement}")
    (result,) = run(shop, trial(UPDATE))
    assert (result.outcome, named in result.reached) == ("not_examined", True), result


# ------------------------------------------------------------------ in preflight


def test_preflight_reports_trials_as_findings_and_stops_for_none(
    empty_database: Options, tmp_path: Path, run_module: Callable[..., dict[str, Any]]
) -> None:
    create_shop(empty_database)
    query(empty_database, "GRANT SELECT, UPDATE ON public.orders TO authenticated; CREATE SEQUENCE public.fired")
    query(empty_database, FIRE.replace("shop.", "public."))
    order = UPDATE.replace("shop.customers", "public.orders").replace("name", "note")
    write_file(tmp_path, "trials/order.sql", order)
    line = order.replace("public.orders", "public.lines").replace("note", "amount").replace("'changed 100%'", "7")
    write_file(tmp_path, "trials/line.sql", line)
    text = ORDERS_PLAN + (
        "trials:\n"
        "  - {name: change_order, by: old, role: authenticated, file: trials/order.sql}\n"
        "  - {name: change_line, by: old, role: authenticated, file: trials/line.sql}\n"
        "  - {name: moderate, by: old, role: moderation_admin, file: trials/order.sql}\n"
        "  - {name: later, by: new, role: authenticated, file: trials/order.sql}\n"
    )
    params: dict[str, Any] = {
        "connection": empty_database, "plan": orders_plan(tmp_path, text), "plan_settings": {"keep_notes": True},
        "fail_on_blocking": False,
    }  # fmt: skip
    found = run_module("pg_environment_info", **params)
    findings = {(entry["name"], entry["object"]): entry for entry in found["findings"]}
    failed = findings["trial_failed", "change_line"]
    assert failed["severity"] == "warning"
    assert "permission denied for table lines (SQLSTATE 42501)" in failed["found"]
    assert failed["harm"].startswith("it fails before anything is changed")
    assert "GRANT moderation_admin TO" in findings["trial_not_examined", "moderate"]["repair"]
    outcomes = {trial["name"]: trial["outcome"] for trial in found["trials"]}
    assert outcomes == {"change_order": "passed", "change_line": "failed", "moderate": "not_examined"}

    query(
        {**empty_database, "user": "supabase_admin"},
        "CREATE FUNCTION public.tell() " + PLPGSQL.format("PERFORM net.http_post('x');")
        + " CREATE TRIGGER tell AFTER UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.tell()",
    )  # fmt: skip
    refused = run_module("pg_environment_info", **params)
    (finding,) = [entry for entry in refused["findings"] if entry["name"] == "trial_not_run"]
    assert finding["object"] == "public.tell"
    accept = {"finding": "trial_not_run", "object": "public.tell", "reason": "it is a test server's"}
    assert f"{{finding: trial_not_run, object: '{accept['object']}', reason: <why>}}" in finding["repair"]
    accepted = run_module("pg_environment_info", **params, accept=[accept])
    assert [entry for entry in accepted["findings"] if entry["name"].startswith(("trial_not_run", "accept_"))] == []
    assert {trial["name"]: trial["outcome"] for trial in accepted["trials"]}["change_order"] == "passed"

    # With a migration applied it is not the deployment's fault alone, and not "before anything is changed".
    query(
        empty_database,
        "INSERT INTO supabase_migrations.schema_migrations VALUES ('20250101000000', NULL, 'prepare')",
    )
    later = run_module("pg_environment_info", **params)
    failed = next(entry for entry in later["findings"] if entry["name"] == "trial_failed")
    assert failed["harm"].startswith("the application gets this error now, with 20250101000000 applied")
    assert "rollback.yml" in failed["repair"]
    assert "a run goes on as it is" not in failed["repair"]

    write_file(tmp_path, "trials/line.sql", "SELECT 1;")
    broken = run_module("pg_environment_info", **{**params, "plan": orders_plan(tmp_path, text)})
    assert "trial_file" in broken["blocking"]


def test_trials_are_no_writes_of_the_application(
    empty_database: Options, tmp_path: Path, run_module: Callable[..., dict[str, Any]]
) -> None:
    create_shop(empty_database)
    query(empty_database, "GRANT SELECT, UPDATE ON public.orders TO authenticated")
    write_file(tmp_path, "trials/order.sql", UPDATE.replace("shop.customers", "public.orders").replace("name", "note"))
    text = ORDERS_PLAN + "trials: [{name: change_order, by: old, role: authenticated, file: trials/order.sql}]\n"
    plan = orders_plan(tmp_path, text)
    opened = run_module(
        "pg_journal", connection=empty_database, state="run_opened", plan_name=plan["plan"],
        run={"plan_hash": plan["plan_hash"]},
    )  # fmt: skip
    watched = run_module(
        "pg_change_log", connection=empty_database, run={"id": opened["run"]["id"]}, state="present",
        tables=plan["protected_tables"],
    )  # fmt: skip
    assert not watched["failed"], watched["msg"]
    verified = run_module("pg_verify", connection=empty_database, checks=[], plan=plan)
    assert [trial["outcome"] for trial in verified["trials"]] == ["passed"]
    assert value(empty_database, "SELECT count(*) FROM migration_runbook.change") == 0


# ------------------------------------------------------------------ at the end of a reverse


def test_a_reverse_that_leaves_a_failing_statement_says_so_and_is_complete(migrated: Migrated) -> None:
    query(migrated.options, "REVOKE INSERT ON public.comments FROM authenticated")
    done = migrated.operator.type("rollback.yml", "-e", "method=reverse")
    assert done.status == 2
    said = "The migrations are undone, but statements of the old application fail:"
    assert f"{said} Comment on a post (trial comment_on_post): permission denied for table comments" in done.text
    assert "then: ansible-playbook playbooks/verify.yml" in done.text
    assert value(migrated.options, "SELECT state FROM migration_runbook.run") == "rolled_back"
    assert value(migrated.options, "SELECT to_regnamespace('tracks_posts_separation') IS NULL")


# ------------------------------------------------------------------ at the end of a migration


def still_proven(steps: StepTrials, connection: Connection) -> list[str]:
    with rolled_back(connection) as cursor:
        return [result.name for result in steps._passed_since_the_last_change(cursor)]


@pytest.mark.parametrize(
    ("later", "proven"),
    [
        ("COMMENT ON TABLE shop.customers IS 'of the shop'", True),
        ("INSERT INTO shop.quiet VALUES (7)", False),
        ("DELETE FROM helper.marker", False),
        ("DO $$ BEGIN UPDATE shop.orders SET note = NULL WHERE id = 1; END $$", False),
    ],
)
def test_a_trial_that_passed_in_a_step_counts_until_a_later_step_writes_rows(
    shop: Options, trial: Callable[..., Trial], later: str, proven: bool
) -> None:
    query(shop, "CREATE SCHEMA helper; CREATE TABLE helper.marker (); INSERT INTO helper.marker DEFAULT VALUES")
    plan = {"protected_tables": [{"table": "shop.customers"}], "migrations": []}
    steps = StepTrials(plan, "1", "applied", "", Acceptance(), [])
    steps._trials = [trial(UPDATE)]
    with session(shop, SessionSettings()) as connection:
        with rolled_back(connection) as cursor:
            steps._state = catalog_state(cursor, ["shop.customers"])
        for statement in ("ALTER TABLE shop.customers ADD COLUMN street text", later):
            with transaction(connection) as cursor:
                cursor.execute(statement)
                steps.in_step(cursor)
            steps.committed()
        assert still_proven(steps, connection) == (["change_name"] if proven else [])
        query(shop, "ALTER TABLE shop.customers ADD CHECK (name <> '')")  # another deployment
        assert still_proven(steps, connection) == []
