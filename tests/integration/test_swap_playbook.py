"""rollback.yml -e method=restore -e restore_mode=swap, as an operator types it, and types it again after a kill."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.runbook.restore.swap_names import names_for
from support.catalogue import catalogue
from support.playbooks import Operator
from support.servers import REPOSITORY, SUPERUSER, Options, Server, connect, query, value

SWAP = ("rollback.yml", "-e", "method=restore", "-e", "restore_mode=swap")
ROWS = "SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM public.posts p"

#: Notes the call; a start that finds the file `wait` takes its time.
HOOK = """
import pathlib, sys, time
word, directory = sys.argv[1], pathlib.Path(sys.argv[2])
with (directory / "calls").open("a") as calls:
    calls.write(word + "\\n")
if word == "start" and (directory / "wait").exists():
    time.sleep(3)
"""


@pytest.fixture
def swappable(server: Server, database: Options) -> Iterator[Options]:
    with connect({**database, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute((REPOSITORY / "molecule" / "sql" / "swappable.sql").read_text(encoding="utf-8"))
    yield {**database, "user": "swap_owner"}
    for (name,) in query(
        server.options, "SELECT datname FROM pg_database WHERE datname ~ %s", (f"^{database['dbname']}_",)
    ):
        server.drop_database({"dbname": name})


@pytest.mark.slow
def test_killed_between_the_switch_and_the_start_the_same_command_finishes(swappable: Options, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "hook.py").write_text(HOOK)
    hook = [sys.executable, str(hooks / "hook.py")]
    operator = Operator(
        tmp_path, swappable, database_backup_scope="database",
        application_control_stop={"command": [*hook, "stop", str(hooks)]},
        application_control_start={"command": [*hook, "start", str(hooks)]},
    )  # fmt: skip
    before = (value(swappable, ROWS), catalogue(swappable))
    migrated = operator.type("migrate.yml")
    assert migrated.status == 0, migrated.screen
    said = operator.type("rollback.yml").text
    assert "restore: possible now" in said
    assert "restore -e restore_mode=swap: possible now" in said
    assert "every write since the backup, to any table; the old database and the safety backup" in said

    run_id = operator.runs()[-1].name
    names = names_for(str(swappable["dbname"]), run_id)
    (hooks / "wait").touch()
    running = operator.start(*SWAP)
    wait_for_start(hooks)
    os.kill(running.pid, signal.SIGKILL)
    running.wait(30)
    there = {name for (name,) in query(swappable, "SELECT datname FROM pg_database")}
    assert names.kept in there
    assert names.side not in there
    assert not list(operator.runs()[-1].glob("rollback-swap/safety_backup"))
    (hooks / "wait").unlink()

    finished = operator.type(*SWAP)
    assert finished.status == 0, finished.screen
    assert "An earlier command switched the databases; this one did the rest" in finished.text
    assert f'DROP DATABASE "{names.kept}"' in finished.text
    assert (hooks / "calls").read_text().split() == ["stop", "start", "start"]
    assert (value(swappable, ROWS), catalogue(swappable)) == before
    assert list(operator.runs()[-1].glob("rollback-swap/safety_backup/manifest.json"))
    assert value(swappable, "SELECT state FROM migration_runbook.run") == "rolled_back"
    report = operator.report()
    assert report["state"] == "rolled_back"
    assert report["restore"]["public.posts"] > 0

    # Later commands read the restored database, which has the run's journal from the old one.
    for playbook, says in (
        ("playbooks/report.yml", f"run {run_id}: rolled back"),
        ("playbooks/report.yml", "4 rows moved; undone by the restore"),
        ("rollback.yml", f"Run {run_id} is already rolled back. Nothing was changed. Applied: nothing"),
        ("playbooks/drill_backup.yml", f"Run {run_id} was rolled back. Its backup still exists and is drilled"),
    ):
        looked = operator.type(playbook)
        assert looked.status == 0, looked.screen
        assert says in looked.text


def test_check_mode_ends_with_what_the_swap_would_do(swappable: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, swappable, database_backup_scope="database")
    migrated = operator.type("migrate.yml")
    assert migrated.status == 0, migrated.screen
    there = query(swappable, "SELECT datname FROM pg_database ORDER BY 1")

    would = operator.type(*SWAP, "--check")

    assert would.status == 0, would.screen
    run_id = operator.runs()[-1].name
    assert (
        f"check mode: nothing was written, anywhere would restore the backup of run {run_id}"
        f" would close run {run_id} as rolled back next: the same command without --check PLAY RECAP"
    ) in would.text
    assert "The state before the rollback is kept" not in would.text
    assert query(swappable, "SELECT datname FROM pg_database ORDER BY 1") == there


def wait_for_start(hooks: Path) -> None:
    for _ in range(1200):
        if (hooks / "calls").exists() and "start" in (hooks / "calls").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the start hook was not called")
