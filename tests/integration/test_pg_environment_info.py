"""Every obstacle to a migration is created for real, and its finding is checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal import schema
from support.orders import PLAN, create_shop, orders_plan, write_file
from support.servers import SUPERUSER, Options, Server, connect, query, value

Examine = Callable[..., dict[str, Any]]

DISK = {"free_disk_bytes": 10**12}


@pytest.fixture
def shop(empty_database: Options) -> Options:
    create_shop(empty_database)
    return empty_database


@pytest.fixture
def examine(shop: Options, tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Examine:
    """Run the module on the shop; the options given take the place of the ones that find nothing."""
    plan = orders_plan(tmp_path / "plan")

    def call(**options: Any) -> dict[str, Any]:
        good = {"connection": shop, "plan": plan, "plan_settings": {"keep_notes": True}, **DISK}
        return run_module("pg_environment_info", **{**good, **options})

    return call


def named(result: dict[str, Any], name: str) -> dict[str, Any]:
    found = [finding for finding in result["findings"] if finding["name"] == name]
    assert len(found) == 1, [finding["name"] for finding in result["findings"]]
    if found[0]["severity"] == "blocking":
        assert result["failed"]
        assert name in result["blocking"]
        assert "correct what is marked as blocking" in result["msg"]
    for part in ("found", "harm", "repair"):
        assert found[0][part].splitlines()[0] if found[0][part] else True
        assert all(line.strip() in result["msg"] for line in found[0][part].splitlines())
    return found[0]


def superuser(options: Options) -> Options:
    return {**options, "user": SUPERUSER}


@contextlib.contextmanager
def open_transaction(options: Options, *statements: str) -> Iterator[int]:
    """A session of somebody else, in a transaction that stays open. Gives its process number."""
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        for statement in statements:
            cursor.execute(statement)
        yield connection.info.backend_pid


def test_nothing_in_the_way_is_a_success_in_both_modes(examine: Examine, shop: Options, server: Server) -> None:
    for check in (False, True):
        result = examine(_check=check)
        assert not result["failed"], result["msg"]
        assert not result["changed"]
        assert result["blocking"] == []
        assert result["volume"] == {"rows": 50, "class": "large"}
        assert result["pending"] == ["20250101000000", "20250102000000"]
        assert result["server"]["major"] == server.major
        assert result["server"]["may_set_replica_role"] is True
        assert len(result["server"]["system_identifier"]) > 10
        assert result["disk"]["needed_bytes"] == 2 * result["disk"]["protected_tables_bytes"] > 0
    assert value(shop, "SELECT count(*) FROM pg_namespace WHERE nspname IN ('migration_runbook', 'orders_split')") == 0


def test_the_role_timeout_is_told(examine: Examine) -> None:
    finding = named(examine(), "statement_timeout")
    assert finding["severity"] == "information"
    assert "start with statement_timeout 120 s" in finding["found"]


def test_no_server_says_so(examine: Examine, shop: Options) -> None:
    result = examine(connection={**shop, "port": 1})
    assert result["failed"]
    assert "cannot connect to postgres@" in result["msg"]
    assert result["findings"] == []


def test_pins_that_are_missing_are_printed_to_paste(examine: Examine, shop: Options) -> None:
    result = examine(expected={"pins_required": True, "inventory_file": "inventories/x/group_vars/x.yml"})
    repair = named(result, "identity_not_pinned")["repair"]
    identifier = value(superuser(shop), "SELECT system_identifier FROM pg_control_system()")
    pins = f'database_expected: {{system_identifier: "{identifier}", database: {shop["dbname"]}}}'
    assert repair.splitlines()[-1] == pins
    assert "inventories/x/group_vars/x.yml" in repair
    # A physical copy has the same identifier: the finding says where it was asked.
    found = named(result, "identity_not_pinned")["found"]
    assert f"the server of socket directory {shop['host']}, port 5432 has {identifier}" in found


def test_another_server_and_another_database_are_both_named(examine: Examine, shop: Options) -> None:
    result = examine(expected={"system_identifier": "1234", "database": "elsewhere"})
    assert "the inventory expects 1234" in named(result, "wrong_system_identifier")["found"]
    assert f" is {shop['dbname']}, the inventory expects elsewhere" in named(result, "wrong_database")["found"]


def test_all_findings_come_at_once_and_can_be_had_without_failing(examine: Examine) -> None:
    options = {"expected": {"database": "elsewhere"}, "plan_settings": {"keep_note": True}}
    result = examine(**options, fail_on_blocking=False)
    assert not result["failed"]
    names = ["wrong_database", "setting_missing", "setting_unknown"]
    assert result["blocking"] == names
    failing = examine(**options)
    assert failing["blocking"] == names
    assert all(f"[blocking] {name}" in failing["msg"] for name in names)
    assert failing["findings"] == result["findings"]


def test_a_setting_of_another_type_is_named(examine: Examine) -> None:
    found = named(examine(plan_settings={"keep_notes": "yes"}), "setting_type")["found"]
    assert "is 'yes', which is not boolean" in found


def test_a_version_the_plan_does_not_support(examine: Examine, tmp_path: Path) -> None:
    text = PLAN.replace("requirements:\n", "requirements:\n  server_versions: {minimum: 10, maximum: 11}\n")
    finding = named(examine(plan=orders_plan(tmp_path / "old", text)), "server_version")
    assert "the plan supports 10 to 11" in finding["found"]


def test_client_tools_that_are_missing(examine: Examine, tmp_path: Path, server: Server) -> None:
    result = examine(tools_directory=str(tmp_path))
    findings = [finding for finding in result["findings"] if finding["name"] == "client_tools"]
    assert [finding["object"].split()[0] for finding in findings] == ["pg_dump", "pg_restore"]
    assert f"{tmp_path}/pg_dump (not found)" in result["msg"]
    good = examine(tools_directory=server.bin_directory)
    assert good["server"]["tools"]["pg_dump"] == f"{server.bin_directory}/pg_dump"


def test_an_extension_that_is_missing(examine: Examine, tmp_path: Path) -> None:
    text = PLAN.replace("requirements:\n", "requirements:\n  extensions: [no_such_thing]\n")
    finding = named(examine(plan=orders_plan(tmp_path / "extension", text)), "extension")
    assert "no_such_thing is not installed and not available on the server" in finding["found"]


def test_a_table_and_a_column_that_are_missing(examine: Examine, shop: Options) -> None:
    query(shop, "ALTER TABLE public.orders DROP COLUMN customer")
    assert named(examine(), "column_missing")["found"] == "public.orders has no column customer"
    query(shop, "DROP TABLE public.lines")
    result = examine()
    assert named(result, "table_missing")["found"] == "public.lines does not exist"
    assert named(result, "column_missing")["object"] == "public.orders"


def test_a_table_of_another_role(examine: Examine, shop: Options) -> None:
    query(superuser(shop), f"ALTER TABLE public.lines OWNER TO {SUPERUSER}")
    finding = named(examine(), "not_owner")
    assert finding["found"] == f"public.lines belongs to {SUPERUSER}, and postgres is not a member of that role"


def test_a_role_without_rights_hears_of_each(examine: Examine, shop: Options, server: Server) -> None:
    with connect(superuser(shop)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE visitor LOGIN")
        cursor.execute("GRANT USAGE ON SCHEMA public, supabase_migrations TO visitor")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor")
        cursor.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        cursor.execute("ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY")
        cursor.execute("REVOKE ALL ON FUNCTION pg_control_system() FROM PUBLIC")
    try:
        result = examine(connection={**shop, "user": "visitor"}, expected={"system_identifier": "1"})
    finally:
        with connect(superuser(shop)) as connection, connection.cursor() as cursor:
            cursor.execute("DROP OWNED BY visitor")
            cursor.execute("DROP ROLE visitor")
    assert " is not readable" in named(result, "wrong_system_identifier")["found"]
    assert "CREATE ON DATABASE" in named(result, "create_on_database")["repair"]
    assert named(result, "create_on_schema")["object"] == "public"
    assert "GRANT SET ON PARAMETER session_replication_role" in named(result, "replica_role")["repair"]
    assert named(result, "row_security")["object"] == "public.orders"
    assert "may not read, insert and delete rows" in named(result, "history_not_writable")["found"]
    assert sum(finding["name"] == "not_owner" for finding in result["findings"]) == 2
    assert named(result, "activity_hidden")["severity"] == "information"


def test_a_plan_with_another_way_only_warns_where_replica_role_is_refused(
    examine: Examine, shop: Options, tmp_path: Path
) -> None:
    plan = orders_plan(tmp_path / "optional", PLAN.replace("replica_role: true", "replica_role: optional"))
    with connect(superuser(shop)) as connection, connection.cursor() as cursor:
        cursor.execute("REVOKE SET ON PARAMETER session_replication_role FROM postgres")
        try:
            result = examine(plan=plan)
        finally:
            cursor.execute("GRANT SET ON PARAMETER session_replication_role TO postgres")
    assert named(result, "replica_role")["severity"] == "warning"
    assert result["server"]["may_set_replica_role"] is False


def test_a_long_transaction_is_named_with_what_ends_it(examine: Examine, shop: Options) -> None:
    with open_transaction(shop, "SELECT count(*) FROM public.orders") as pid:
        finding = named(examine(thresholds={"long_transaction_seconds": 0}), "long_transaction")
        assert finding["rows"][0]["pid"] == pid
        assert f"SELECT pg_terminate_backend({pid})" in finding["repair"]
        assert not examine()["failed"]


def test_an_old_snapshot_is_a_warning(examine: Examine, shop: Options) -> None:
    with open_transaction(shop, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1") as pid:
        finding = named(examine(thresholds={"old_snapshot_seconds": 0}), "old_snapshot")
    assert finding["severity"] == "warning"
    assert str(pid) in [row["holder"] for row in finding["rows"]]


def test_a_lock_on_a_table_of_the_plan(examine: Examine, shop: Options) -> None:
    with open_transaction(shop, "LOCK TABLE public.lines IN SHARE MODE") as pid:
        finding = named(examine(), "lock_holder")
    assert finding["object"] == "public.lines"
    assert (finding["rows"][0]["pid"], finding["rows"][0]["mode"]) == (pid, "ShareLock")


def test_a_prepared_transaction_is_ended_by_its_name(examine: Examine, shop: Options) -> None:
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE public.orders SET note = 'x' WHERE id = 1")
        cursor.execute("PREPARE TRANSACTION 'forgotten'")
        try:
            finding = named(examine(), "prepared_transaction")
        finally:
            cursor.execute("ROLLBACK PREPARED 'forgotten'")
    assert "1 prepared transaction open" in finding["found"]
    assert "ROLLBACK PREPARED 'forgotten'" in finding["repair"]


def test_ordinary_writes_of_the_application_are_no_finding(examine: Examine, shop: Options) -> None:
    with open_transaction(shop, "UPDATE public.orders SET note = 'x' WHERE id = 1"):
        assert not examine()["failed"]


def test_an_invalid_index_of_others_blocks_and_one_of_the_plan_does_not(examine: Examine, shop: Options) -> None:
    query(shop, "UPDATE public.orders SET customer = 1")
    for name in ("orders_customer_key", "orders_note_idx"):
        with pytest.raises(psycopg2.errors.UniqueViolation):
            query(shop, f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON public.orders (customer)")
    findings = [finding for finding in examine()["findings"] if finding["name"] == "invalid_index"]
    assert [(finding["object"], finding["severity"]) for finding in findings] == [
        ("public.orders_customer_key", "blocking"),
        ("public.orders_note_idx", "information"),
    ]
    assert "DROP INDEX CONCURRENTLY public.orders_customer_key" in findings[0]["repair"]


def test_triggers_that_fire_under_replica_role(examine: Examine, shop: Options) -> None:
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        for name in ("always", "replica", "disabled"):
            fires = "BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.nothing()"
            cursor.execute(f"CREATE TRIGGER on_{name} {fires}")
        cursor.execute("ALTER TABLE public.orders ENABLE ALWAYS TRIGGER on_always")
        cursor.execute("ALTER TABLE public.orders ENABLE REPLICA TRIGGER on_replica")
        cursor.execute("ALTER TABLE public.orders DISABLE TRIGGER on_disabled")
    result = examine()
    texts = [finding["found"] for finding in result["findings"] if finding["name"] == "trigger_conflict"]
    assert texts == [
        "the trigger on_always on public.orders is enabled as ALWAYS",
        "the trigger on_replica on public.orders is enabled as REPLICA",
    ]
    assert named(result, "trigger_disabled")["severity"] == "warning"


def test_a_plan_that_does_not_declare_its_writes_is_surveyed_by_its_files(
    examine: Examine, shop: Options, tmp_path: Path
) -> None:
    write_file(
        tmp_path,
        "plan/migrations/20250102000000_finish.sql",
        "-- step: one\nINSERT INTO public.lines (id, order_id, amount) SELECT 0, 1, 1;\n"
        "UPDATE public.orders SET note = 'x';",
    )
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE public.lines ADD colour text; UPDATE public.lines SET colour = 'red'")
        cursor.execute("ALTER TABLE public.lines ALTER colour SET NOT NULL")
        cursor.execute("CREATE UNIQUE INDEX note_once ON public.orders (note)")
        cursor.execute("ALTER TABLE public.orders ADD CONSTRAINT note_short CHECK (length(note) < 100)")
    result = examine()
    assert named(result, "required_column")["object"] == "public.lines.colour"
    unique = named(result, "unique_index")
    assert (unique["object"], unique["severity"]) == ("public.orders.note_once", "blocking")
    assert "the plan declares no query for the rows that it writes there" in unique["found"]
    assert named(result, "check_constraint")["object"] == "public.orders.note_short"
    accepted = [
        {"finding": finding["name"], "object": finding["object"], "reason": "seen"}
        for finding in result["findings"]
        if finding["severity"] == "blocking"
    ]
    assert not examine(accept=accepted)["failed"]


def test_a_constraint_that_is_not_validated(examine: Examine, shop: Options) -> None:
    query(shop, "ALTER TABLE public.orders ADD CONSTRAINT note_long CHECK (length(note) > 100) NOT VALID")
    finding = named(examine(), "constraint_not_validated")
    assert finding["repair"] == "ALTER TABLE public.orders VALIDATE CONSTRAINT note_long"


def test_rows_behind_a_valid_key_that_point_at_nothing(examine: Examine, shop: Options) -> None:
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM public.orders WHERE id = 3")
    finding = named(examine(), "row_without_parent")
    assert finding["severity"] == "blocking"
    assert finding["found"] == "4 rows without a parent, although the key is valid"
    assert finding["object"] == "lines_order_id_fkey (public.lines order_id → public.orders)"
    assert finding["rows"][0] == {"points_at": "3"}


def test_rows_that_a_half_applied_migration_still_moves_are_no_reason_to_refuse_going_on(
    examine: Examine, shop: Options
) -> None:
    add = "ALTER TABLE public.lines ADD CONSTRAINT {} FOREIGN KEY (amount) REFERENCES public.orders (id) NOT VALID"
    query(shop, add.format("orders_note_idx"))  # a name that the plan's first migration holds
    assert named(examine(), "row_without_parent")["found"] == "150 rows without a parent"

    with session(shop, SessionSettings()) as connection:
        schema.ensure(connection)
    begun = (
        "INSERT INTO migration_runbook.step (run_id, version, direction, step_number, name, kind, sha256, state)"
        " VALUES ('r', %s, 'applied', 1, 'swap the key', 'transaction', 'a', 'done')"
    )
    query(shop, begun, ("20250102000000",))
    assert named(examine(), "row_without_parent")["severity"] == "blocking", "that one does not name the key"
    query(shop, begun, ("20250101000000",))
    result = examine()
    finding = named(result, "row_without_parent_yet")
    assert (finding["severity"], finding["rows_total"]) == ("information", 150)
    assert finding["found"].startswith("150 rows without a parent yet; a half-applied migration has created the key")
    assert not result["failed"], result["msg"]

    query(shop, "ALTER TABLE public.lines DROP CONSTRAINT orders_note_idx")
    query(shop, add.format("key_of_somebody_else"))
    assert named(examine(), "row_without_parent")["severity"] == "blocking"


def test_a_key_from_a_table_that_the_role_may_not_read(examine: Examine, shop: Options) -> None:
    query(superuser(shop), "CREATE SCHEMA outside")
    query(superuser(shop), "CREATE TABLE outside.reports (order_id integer REFERENCES public.orders (id))")
    finding = named(examine(), "foreign_key_unreadable")
    assert finding["severity"] == "warning"
    assert finding["found"] == "postgres may not read outside.reports"
    assert 'GRANT SELECT ON outside.reports TO "postgres"' in finding["repair"]
    query(superuser(shop), "GRANT USAGE ON SCHEMA outside TO postgres")
    query(superuser(shop), "GRANT SELECT ON outside.reports TO postgres")
    assert not [entry for entry in examine()["findings"] if entry["name"] == "foreign_key_unreadable"]


def test_publications_and_slots_say_how_many_events_to_expect(examine: Examine, shop: Options) -> None:
    query(superuser(shop), "CREATE PUBLICATION listeners FOR TABLE public.orders, public.lines")
    query(superuser(shop), "SELECT pg_create_logical_replication_slot('reader', 'pgoutput')")
    try:
        result = examine()
    finally:
        query(superuser(shop), "SELECT pg_drop_replication_slot('reader')")
    published = named(result, "publication")
    assert "about 50 update events" in published["found"]
    assert {row["table"]: row["events"] for row in published["rows"]} == {"public.orders": 50, "public.lines": 0}
    slot = named(result, "replication_slot")
    assert slot["severity"] == "warning"
    assert "the slot reader (pgoutput) is not active" in slot["found"]


def test_rows_that_cannot_move_are_shown_with_their_number(examine: Examine, shop: Options) -> None:
    query(shop, "UPDATE public.orders SET note = ' ' WHERE id <= 30")
    finding = named(examine(), "blank_note")
    assert finding["found"] == "30 rows found"
    assert (len(finding["rows"]), finding["rows_total"]) == (20, 30)
    assert finding["rows"][0] == {"id": 1, "note": " "}
    query(shop, "INSERT INTO supabase_migrations.schema_migrations VALUES ('20250101000000', NULL, 'prepare')")
    assert not examine()["failed"], "a precondition ends with the migration it is for"


def test_a_precondition_the_server_refuses_does_not_hide_the_others(examine: Examine, tmp_path: Path) -> None:
    write_file(tmp_path, "plan/queries/blank.sql", "SELECT nothing FROM public.orders;")
    result = examine(expected={"database": "elsewhere"})
    assert 'column "nothing" does not exist' in named(result, "blank_note")["found"]
    named(result, "wrong_database")


def test_history_with_a_gap_and_with_versions_of_others(examine: Examine, shop: Options) -> None:
    query(
        shop,
        "INSERT INTO supabase_migrations.schema_migrations VALUES"
        " ('20250102000000', NULL, 'finish'), ('20250301000000', NULL, 'other')",
    )
    result = examine()
    assert result["applied"] == ["20250102000000"]
    assert result["pending"] == ["20250101000000"]
    assert (
        "20250102000000 is recorded as applied, but the earlier version 20250101000000"
        in named(result, "history_gap")["found"]
    )
    assert "20250301000000 is applied, newer" in named(result, "history_unknown")["found"]
    accepted = examine(accepted_versions=["20250301000000"])
    assert accepted["blocking"] == ["history_gap"]


def test_a_file_that_cannot_be_run_and_one_that_was_edited(examine: Examine, shop: Options, tmp_path: Path) -> None:
    write_file(tmp_path, "plan/revert/20250102000000_finish.sql", "-- step: one\nBEGIN; SELECT 1; COMMIT;")
    finding = named(examine(), "migration_file")
    assert finding["object"].startswith(str(tmp_path / "plan/revert/20250102000000_finish.sql"))
    write_file(tmp_path, "plan/revert/20250102000000_finish.sql", "-- step: one\nSELECT 1;")
    query(
        shop,
        "INSERT INTO supabase_migrations.schema_migrations VALUES ('20250101000000', ARRAY['SELECT 2'], 'prepare')",
    )
    drift = named(examine(), "history_drift")
    assert drift["found"] == "the file of 20250101000000 was edited after it was applied"


def test_a_history_that_does_not_exist_yet_is_no_obstacle(examine: Examine, shop: Options) -> None:
    query(shop, "DROP SCHEMA supabase_migrations CASCADE")
    result = examine()
    assert not result["failed"]
    assert named(result, "history_missing")["severity"] == "information"


def test_disk_space_is_compared_or_said_to_be_unknown(examine: Examine, tmp_path: Path) -> None:
    low = named(examine(free_disk_bytes=1000), "free_disk")
    assert "1000 bytes are free as the inventory says" in low["found"]
    seen = examine(free_disk_bytes=None, disk_path=str(tmp_path))
    assert not seen["failed"]
    assert seen["disk"]["free_bytes"] > 0
    huge = examine(free_disk_bytes=None, disk_path=str(tmp_path), thresholds={"minimum_free_disk_bytes": 10**18})
    assert f"of the disk that holds {tmp_path}" in named(huge, "free_disk")["found"]
    unknown = named(examine(free_disk_bytes=None), "free_disk_unknown")
    assert unknown["severity"] == "information"
    assert "database_free_disk_bytes" in unknown["repair"]
