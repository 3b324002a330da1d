"""pg_backup and pg_backup_info: what a backup must be before anything relies on it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.backup import backup, tools
from psycopg2 import sql
from support.servers import Options, Server, connect, query, running_server, value
from support.shop import FINGERPRINTS, NAMES, customer_id, open_shop, order_id, query_file

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def shop(empty_database: Options) -> Options:
    open_shop(empty_database)
    return empty_database


@pytest.fixture
def back_up(run_module: RunModule, shop: Options, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(**params: Any) -> dict[str, Any]:
        wanted = {"connection": shop, "directory": str(tmp_path / "backup"), "schemas": ["public"], "minimum_bytes": 1}
        return run_module("pg_backup", **{**wanted, "tables": NAMES, **params})

    return call


def test_a_backup_is_taken_once_and_verified_again(back_up: RunModule, run_module: RunModule, tmp_path: Path) -> None:
    would = back_up(_check=True)
    assert would["changed"]
    assert "would dump 5 tables of public, supabase_migrations" in would["msg"]
    assert not any(tmp_path.iterdir())

    taken = back_up()
    assert not taken["failed"], taken["msg"]
    assert taken["changed"]
    assert taken["manifest"]["rows"] == {
        "public.Odd Names": 4,
        "public.customers": 5,
        "public.nothing_yet": 0,
        "public.orders": 40,
        "supabase_migrations.schema_migrations": 1,
    }
    assert taken["manifest"] == json.loads((tmp_path / "backup" / "manifest.json").read_text())

    again = back_up()
    assert not again["changed"]
    assert "kept, its checksums verified" in again["msg"]
    assert again["manifest"] == taken["manifest"]
    info = run_module("pg_backup_info", directory=str(tmp_path / "backup"))
    assert info["manifest"] == taken["manifest"]
    assert info["msg"].startswith("whole: ")


def test_the_dump_can_be_restored_elsewhere_with_its_rows(
    back_up: RunModule, server: Server, shop: Options, tmp_path: Path
) -> None:
    back_up()
    scratch = server.create_database()
    environment = tools.tool_environment({**scratch, "user": "supabase_admin"}, "test")
    archive = next(path for path in (tmp_path / "backup").iterdir() if path.name != "manifest.json")
    program = [tools.find_tool("pg_restore", server.major), "--dbname", scratch["dbname"], archive]
    # Keys to other schemas fail in a scratch database: the manifest says so. The rows are there.
    subprocess.run(program, check=False, env=environment, capture_output=True)
    for table in NAMES:
        rows = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(*table.split(".")))
        assert query({**scratch, "user": "supabase_admin"}, rows) == query({**shop, "user": "supabase_admin"}, rows)
    server.drop_database(scratch)


def test_only_the_owner_can_read_the_files(back_up: RunModule, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        back_up(snapshot={"directory": str(tmp_path / "snapshot"), "fingerprints": FINGERPRINTS})
    finally:
        os.umask(old)
    for root in ("backup", "snapshot"):
        for path in [tmp_path / root, *(tmp_path / root).rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_manifest_says_where_it_comes_from_and_what_it_lacks(
    back_up: RunModule, server: Server, shop: Options
) -> None:
    manifest = back_up()["manifest"]
    identifier = value(shop, "SELECT system_identifier::text FROM pg_control_system()")
    assert manifest["server"]["system_identifier"] == identifier
    assert manifest["server"]["major"] == server.major
    assert manifest["database"] == shop["dbname"]
    assert manifest["tool"].startswith(f"pg_dump (PostgreSQL) {server.major}")
    assert manifest["total_bytes"] == sum(entry["bytes"] for entry in manifest["files"])
    lacks = {entry["what"]: entry["objects"] for entry in manifest["not_carried"]}
    assert lacks["publication membership"] == ["shop_changes: public.orders"]
    assert lacks["foreign keys of other schemas onto these tables"] == ["reports.marks: marks_order_id_fkey"]
    assert lacks["rows of other schemas that these tables reference"] == ["accounts.users"]
    assert "role postgres: statement_timeout" in lacks["settings of the database and of roles"]


def test_dump_and_snapshot_see_the_same_instant_while_the_application_writes(
    back_up: RunModule, run_module: RunModule, shop: Options, tmp_path: Path
) -> None:
    ended = threading.Event()

    def write() -> None:
        with connect(shop) as connection, connection.cursor() as cursor:
            number = 1000
            while not ended.is_set():
                number += 1
                cursor.execute(
                    "INSERT INTO public.orders (id, customer_id, place) VALUES (%s, %s, %s)",
                    (order_id(number), customer_id(1), number),
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        taken = back_up(
            snapshot={
                "directory": str(tmp_path / "snapshot"),
                "counts": [
                    {"name": "orders", "query": query_file(tmp_path, "n", "SELECT count(*) FROM public.orders")}
                ],
                "fingerprints": FINGERPRINTS,
            }
        )
    finally:
        ended.set()
        writer.join()
    assert not taken["failed"], taken["msg"]
    rows = taken["manifest"]["rows"]["public.orders"]
    assert taken["snapshot"]["counts_by_name"] == {"orders": rows}
    assert {entry["name"]: entry["before"] for entry in taken["snapshot"]["fingerprints"]}["orders"] == rows
    assert value(shop, "SELECT count(*) FROM public.orders") > rows


def test_a_backup_below_the_floor_is_rejected_and_kept(back_up: RunModule, tmp_path: Path) -> None:
    refused = back_up(minimum_bytes=1 << 20, snapshot={"directory": str(tmp_path / "snapshot")})
    assert refused["failed"]
    assert "less than minimum_bytes (1048576). Is this the right database?" in refused["msg"]
    assert f"kept in {tmp_path / 'backup.rejected'} for inspection" in refused["msg"]
    assert refused["left_as"] == "unchanged"
    assert [path.name for path in tmp_path.iterdir()] == ["backup.rejected"]


def test_an_archive_that_cannot_be_read_back_is_rejected(
    back_up: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backup.make_private

    def cut(directory: str) -> None:
        whole(directory)
        files = [path for path in Path(directory).rglob("*") if path.is_file() and path.name != "toc.dat"]
        largest = max(files, key=lambda path: path.stat().st_size)
        content = largest.read_bytes()
        # In the middle of the orders: an archive's definitions come before its rows.
        largest.write_bytes(content[:-300])

    monkeypatch.setattr(backup, "make_private", cut)
    refused = back_up()
    assert refused["failed"]
    # pg_restore takes a zstd file that was cut for whole, and says nothing.
    assert "the archive ends in the middle of public.orders" in refused["msg"]
    assert "The backup is rejected and kept in" in refused["msg"]
    assert (tmp_path / "backup.rejected").is_dir()
    assert not (tmp_path / "backup").exists()


def test_rows_that_are_not_in_the_archive_are_counted(
    back_up: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backup.make_private

    def lose(directory: str) -> None:
        whole(directory)
        for path in (Path(directory) / "data").glob("*.dat"):
            lines = path.read_bytes().splitlines(keepends=True)
            if path.name != "toc.dat":
                path.write_bytes(b"".join(line for line in lines if not line.startswith(order_id(7).encode())))

    monkeypatch.setattr(backup, "make_private", lose)
    refused = back_up(compression="none")
    assert "does not contain the rows of the database: public.orders has 39, the database 40" in refused["msg"]
    assert refused["object"] == "public.orders"


def test_a_table_outside_the_schemas_is_refused_before_the_dump(back_up: RunModule, tmp_path: Path) -> None:
    refused = back_up(tables=["accounts.users"])
    assert "table accounts.users is not among the tables of public, supabase_migrations" in refused["msg"]
    assert refused["object"] == "accounts.users"
    refused = back_up(schemas=["public", "publik"], _check=True)
    assert "schema publik does not exist in this database" in refused["msg"]
    assert not any(tmp_path.iterdir())


def test_a_database_without_history_is_backed_up_too(back_up: RunModule, shop: Options) -> None:
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA supabase_migrations CASCADE")
    assert back_up()["manifest"]["schemas"] == ["public"]


def test_tools_of_another_version_are_refused(
    back_up: RunModule, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "bin"
    wrong.mkdir()
    (wrong / "pg_dump").write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {server.major - 1}.3'\n")
    (wrong / "pg_dump").chmod(0o755)
    refused = back_up(tools_directory=str(wrong))
    assert f"pg_dump of PostgreSQL {server.major} is missing" in refused["msg"]
    assert f"{wrong}/pg_dump (version {server.major - 1})" in refused["msg"]
    assert "set tools_directory" in refused["next_command"]
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("damage", ["changed", "shortened", "removed"])
def test_a_damaged_file_is_named(back_up: RunModule, run_module: RunModule, tmp_path: Path, damage: str) -> None:
    manifest = back_up()["manifest"]
    victim = max(manifest["files"], key=lambda entry: entry["bytes"])["path"]
    path = tmp_path / "backup" / victim
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "changed" else b""))
    says = {
        "changed": "has been changed: its SHA-256 differs",
        "shortened": "the manifest says",
        "removed": "is missing",
    }[damage]
    for refused in (run_module("pg_backup_info", directory=str(tmp_path / "backup")), back_up()):
        assert refused["failed"]
        assert f"{victim} " in refused["msg"]
        assert says in refused["msg"]
        assert refused["damaged_files"] == [victim]
        assert "take a new backup" in refused["next_command"]


def test_a_backup_without_its_manifest_is_none(run_module: RunModule, tmp_path: Path) -> None:
    refused = run_module("pg_backup_info", directory=str(tmp_path))
    assert "the backup's manifest cannot be read" in refused["msg"]
    (tmp_path / "manifest.json").write_text("{")
    refused = run_module("pg_backup_info", directory=str(tmp_path))
    assert "is not JSON" in refused["msg"]


def test_a_backup_of_another_database_is_not_taken_for_ours(back_up: RunModule, server: Server, shop: Options) -> None:
    back_up()
    other = server.create_database()
    open_shop(other)
    refused = back_up(connection=other)
    assert f"belongs to database {shop['dbname']}; this is {other['dbname']}" in refused["msg"]
    server.drop_database(other)


def test_the_data_snapshot_of_a_backup_must_stay_with_it(back_up: RunModule, tmp_path: Path) -> None:
    wanted = {"directory": str(tmp_path / "snapshot"), "fingerprints": FINGERPRINTS}
    back_up(snapshot=wanted)
    path = tmp_path / "snapshot" / "snapshot.json"
    path.write_text(path.read_text().replace('"rows": 40', '"rows": 41'))
    refused = back_up(snapshot=wanted)
    assert "was not taken with the backup" in refused["msg"]
    shutil.rmtree(tmp_path / "snapshot")
    refused = back_up(snapshot=wanted)
    assert "the data snapshot cannot be read" in refused["msg"]


def test_a_snapshot_whose_backup_failed_is_set_aside(back_up: RunModule, tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    taken = back_up(snapshot={"directory": str(tmp_path / "snapshot"), "fingerprints": FINGERPRINTS})
    assert not taken["failed"], taken["msg"]
    assert (tmp_path / "snapshot.superseded").is_dir()


def test_a_dump_that_fails_leaves_nothing_and_says_why(back_up: RunModule, shop: Options, tmp_path: Path) -> None:
    with connect({**shop, "user": "supabase_admin"}) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.hidden (id int)")
    refused = back_up(snapshot={"directory": str(tmp_path / "snapshot")})
    assert refused["failed"]
    assert "hidden" in refused["msg"]
    assert not any(tmp_path.iterdir())


def test_compression_is_chosen_by_name(back_up: RunModule, server: Server, tmp_path: Path) -> None:
    refused = back_up(compression="brotli")
    assert "unknown compression 'brotli'; choose none, gzip, lz4 or zstd" in refused["msg"]
    packed = back_up(compression="gzip:9")
    assert packed["manifest"]["compression"] == "gzip:9"
    assert list((tmp_path / "backup" / "data").glob("*.dat.gz"))
    loose = back_up(compression="none", directory=str(tmp_path / "loose"))
    assert loose["manifest"]["rows"] == packed["manifest"]["rows"]


def test_a_run_that_is_not_open_is_refused_before_the_dump(back_up: RunModule, tmp_path: Path) -> None:
    refused = back_up(run={"id": "20250101T000000Z-abcdef"})
    assert "run 20250101T000000Z-abcdef is not open" in refused["msg"]
    assert not any(tmp_path.iterdir())


def test_the_journal_learns_of_backup_and_snapshot_once(
    back_up: RunModule, run_module: RunModule, shop: Options, tmp_path: Path
) -> None:
    one_run = {"id": "20250101T000000Z-abcdef", "plan_hash": "0" * 64, "directory": str(tmp_path / "run")}
    opened = run_module("pg_journal", connection=shop, state="run_opened", run=one_run, plan_name="shop")
    assert not opened["failed"], opened["msg"]
    wanted = {"run": one_run, "snapshot": {"directory": str(tmp_path / "snapshot"), "fingerprints": FINGERPRINTS}}
    assert back_up(**wanted)["changed"]
    assert not back_up(**wanted)["changed"]
    events = query(shop, "SELECT phase, status FROM migration_runbook.event WHERE phase <> 'run_opened' ORDER BY id")
    assert events == [("backup_verified", "ok"), ("snapshot_taken", "ok")]

    (tmp_path / "backup").rename(tmp_path / "elsewhere")
    for check in (False, True):
        refused = back_up(**wanted, _check=check)
        assert f"and {tmp_path / 'backup'} is not that backup" in refused["msg"]
        assert "restore the run's backup from your copy of it" in refused["next_command"]
    back_up()
    assert "A new backup is refused" in back_up(**wanted)["msg"]


def test_the_password_is_on_no_command_line(
    run_module: RunModule, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "gKq7-lantern-oboe-4471-quince"
    seen: list[str] = []
    start = subprocess.Popen

    def watch(argv: list[str], *args: Any, **rest: Any) -> Any:
        process = start(argv, *args, **rest)
        # What ps shows, from the moment on that the program runs.
        while process.poll() is None:
            line = Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")
            if line.startswith(str(argv[0])):
                seen.append(line)
                break
        return process

    with running_server(server.major, listen=True, password=password) as secured:
        options = {**secured.create_database(), "host": "127.0.0.1", "user": "supabase_admin", "password": password}
        open_shop(options)
        monkeypatch.setattr(tools.subprocess, "Popen", watch)
        taken = run_module(
            "pg_backup", connection=options, directory=str(tmp_path / "b"), schemas=["public"], minimum_bytes=1
        )
        wrong = run_module(
            "pg_backup",
            connection={**options, "password": password[::-1]},
            directory=str(tmp_path / "c"),
            schemas=["public"],
        )
    assert not taken["failed"], taken["msg"]
    assert any("/pg_dump --format=directory" in line for line in seen)
    assert not [line for line in seen if password in line]
    assert password not in json.dumps(taken)
    assert "password authentication failed" in wrong["msg"]
    assert password[::-1] not in json.dumps(wrong)
