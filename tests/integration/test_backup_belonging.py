"""A backup that is damaged, foreign or of another time is refused before the database is touched, and says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.backup import manifest as manifests
from ansible.module_utils.runbook.backup import tools
from support.servers import Options, Server, query, running_server
from support.shop import NAMES, TABLES, open_shop

RunModule = Callable[..., dict[str, Any]]
RUN = {"id": "20250301T000000Z-aaaaaa", "plan_hash": "a" * 64}
LATER = {"id": "20250302T000000Z-bbbbbb", "plan_hash": "b" * 64}


class Backup:
    """The backup that a run took of the shop, and ways to spoil it."""

    def __init__(self, options: Options, run_module: RunModule, path: Path) -> None:
        self.options, self.run_module, self.directory = options, run_module, path / "backup"

    def open_run(self, run: dict[str, str]) -> None:
        opened = self.run_module(
            "pg_journal", connection=self.options, state="run_opened", plan_name="shop",
            run={**run, "environment": "staging", "host": "shop_database"}, phase="environment_verified",
        )  # fmt: skip
        assert not opened["failed"], opened["msg"]

    def take(self, run: dict[str, str] | None = RUN, **params: Any) -> None:
        wanted = {"directory": str(self.directory), "schemas": ["public"], "minimum_bytes": 1, "run": run, **params}
        taken = self.run_module("pg_backup", connection=self.options, **wanted)
        assert not taken["failed"], taken["msg"]

    def forge(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Rewrite the manifest; sizes and checksums of the files still agree with it."""
        path = self.directory / manifests.MANIFEST_FILE
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    def info(self, run: dict[str, str] | None = RUN, **params: Any) -> dict[str, Any]:
        wanted = {"directory": str(self.directory), "connection": self.options, "run": run, "tables": NAMES, **params}
        return self.run_module("pg_backup_info", **wanted)

    def refused(self, message: str, run: dict[str, str] | None = RUN, next_command: str = "your copy of it") -> None:
        """Neither look nor restore gets past it, and nothing in the database has changed."""
        before = self.state()
        restore = {"connection": self.options, "backup_directory": str(self.directory), "tables": TABLES, "run": run}
        for result in (self.info(run), self.run_module("pg_restore", **restore)):
            assert result["failed"]
            assert message in result["msg"]
            assert "Nothing was changed." in result["msg"]
            assert next_command in result["next_command"]
        assert self.state() == before

    def state(self) -> list[tuple[Any, ...]]:
        return query(
            self.options,
            "SELECT nspname::text, (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid),"
            " (SELECT max(age(xmin)) FROM public.orders) IS NULL, (SELECT count(*) FROM public.orders)"
            " FROM pg_namespace n WHERE nspname NOT LIKE 'pg\\_%%' ORDER BY 1",
        )


@pytest.fixture
def backup(empty_database: Options, run_module: RunModule, tmp_path: Path) -> Backup:
    open_shop(empty_database)
    made = Backup(empty_database, run_module, tmp_path)
    made.open_run(RUN)
    return made


def test_the_own_backup_of_the_run_is_accepted(backup: Backup) -> None:
    backup.take()
    found = backup.info()
    assert not found["failed"], found["msg"]
    assert found["manifest"]["run"] == RUN
    assert found["manifest"]["tables_bytes"] > 8192
    assert [(key["table"], key["parent"]) for key in found["manifest"]["outside_keys"]] == [
        ("public.customers", "accounts.users")
    ]


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(truncate, "bytes, the manifest says"), (flip_a_byte, "has been changed"), (os.remove, "is missing")],
    ids=["truncated", "a flipped byte", "removed"],
)
def test_a_damaged_file(backup: Backup, spoil: Callable[[Path], None], message: str) -> None:
    backup.take()
    spoil(backup.directory / "data/toc.dat")
    backup.refused(message)


def test_a_backup_that_is_not_there(backup: Backup) -> None:
    backup.refused("the backup's manifest cannot be read")


def test_an_archive_without_the_rows_of_a_table(backup: Backup, server: Server) -> None:
    """What `supabase db dump` writes: the schema. The manifest is made to agree with it."""
    backup.take(run=None)
    archive = backup.directory / json.loads((backup.directory / "manifest.json").read_text())["archive"]
    shutil.rmtree(archive)
    dump = [tools.find_tool("pg_dump", server.major), "--format=directory", f"--file={archive}"]
    dump += ["--exclude-table-data=public.orders", "--schema=public"]
    subprocess.run(dump, check=True, env=tools.tool_environment(backup.options, "test"))

    def describe(manifest: dict[str, Any]) -> None:
        manifest["files"] = [
            manifests._described(str(backup.directory), path) for path in manifests.files_of(str(archive))
        ]

    backup.forge(describe)
    assert "public.orders" in backup.info(None)["msg"]
    backup.refused("contains no rows of ", run=None, next_command="restore another backup")


def test_a_backup_of_another_server(backup: Backup) -> None:
    """The same name of the database, another system identifier."""
    backup.take()
    backup.forge(lambda manifest: manifest["server"].update(system_identifier="1"))
    backup.refused("belongs to server (system identifier) 1; this is", next_command="rename the directory")


def test_a_backup_of_another_database(backup: Backup) -> None:
    backup.take()
    backup.forge(lambda manifest: manifest["server"].update(database="other"))
    backup.refused("belongs to database other; this is test_", next_command="rename the directory")


def test_a_backup_made_by_tools_of_another_version(backup: Backup) -> None:
    backup.take()
    backup.forge(lambda manifest: manifest.update(tool="pg_dump (PostgreSQL) 14.1"))
    backup.refused(
        "was dumped by pg_dump (PostgreSQL) 14.1, the server is PostgreSQL", next_command="take a new backup"
    )


def test_a_backup_of_a_server_of_another_version(backup: Backup, run_module: RunModule) -> None:
    """Really taken on PostgreSQL 15, with the identity of ours put into its manifest."""
    try:
        tools.find_tool("pg_dump", 15)
    except tools.RunbookError as error:
        pytest.skip(error.msg)
    with running_server(15) as older:
        options = older.create_database()
        open_shop(options)
        Backup(options, run_module, backup.directory.parent).take(run=None)
    with_ours = {"database": backup.options["dbname"], "system_identifier": ""}
    backup.forge(lambda manifest: manifest["server"].update(with_ours))
    message = "was dumped by pg_dump (PostgreSQL) 15."
    backup.refused(message, run=None, next_command="take a new backup")


def test_a_backup_of_another_run(backup: Backup) -> None:
    backup.take()
    query(backup.options, "UPDATE migration_runbook.run SET state = 'complete'")
    backup.open_run(LATER)
    backup.refused(f"was taken for run {RUN['id']}, not for run {LATER['id']}", run=LATER)


def test_a_backup_for_another_plan(backup: Backup) -> None:
    backup.take()
    backup.forge(lambda manifest: manifest["run"].update(plan_hash="c" * 64))
    backup.refused("was taken for the plan with hash cccccccccccc, run")


def test_a_backup_that_is_older_than_the_run(backup: Backup) -> None:
    backup.take(run=None)
    query(backup.options, "UPDATE migration_runbook.run SET started_at = clock_timestamp()")
    backup.refused("rows written in between would be lost")


def test_a_backup_that_the_journal_does_not_know(backup: Backup) -> None:
    """Taken during the run, of whatever state: the journal knows the one from before the first change."""
    backup.take(run=None)
    backup.refused("is not the one recorded for run")


def test_a_run_that_this_database_does_not_know(backup: Backup) -> None:
    backup.take()
    backup.refused("is not in this database's journal", run=LATER)
