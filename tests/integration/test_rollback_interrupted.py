"""A rollback that is killed: the same command does what is left, and nothing a second time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.catalogue import catalogue
from support.playbooks import Operator
from support.servers import Options, Server, connect, load_demo, query, value

REVERSE = ("rollback.yml", "-e", "method=reverse", "-e", "rollback_application_stopped=true")
RESTORE = ("rollback.yml", "-e", "method=restore", "-e", '{"rollback_options": {"watch_seconds": 0.2}}')
POSTS = "SELECT * FROM public.posts ORDER BY id"
ENTRIES = "SELECT * FROM public.playlist_tracks ORDER BY id"
WATCHED = "SELECT to_regclass('migration_runbook.change') IS NOT NULL"
#: The deletion of the tracks is slow enough for a kill.
SLOW = """
CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); RETURN NULL; END';
CREATE TRIGGER slow AFTER DELETE ON public.tracks EXECUTE FUNCTION public.slow();
"""


@pytest.fixture
def demo(server: Server) -> Options:
    options = server.create_database()
    load_demo(options, audio_posts=300)
    return options


def wait_for(found: Callable[[], Any], running: subprocess.Popen[str]) -> Any:
    while True:
        result = found()
        if result:
            return result
        assert running.poll() is None, "the play ended before the moment came"
        time.sleep(0.01)


def kill_all_of(running: subprocess.Popen[str]) -> None:
    """Kill a play and everything that works for it."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(tuple(map(int, line.split())) for line in table.splitlines())
    family = [running.pid]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    running.wait()


def at_end_of(options: Options, version: str) -> Callable[[], Any]:
    """Whether a version has left the history."""

    def left() -> bool:
        found = query(options, "SELECT 1 FROM supabase_migrations.schema_migrations WHERE version = %s", (version,))
        return not found

    return left


def asleep(options: Options) -> Callable[[], Any]:
    def sleeping() -> Any:
        return query(
            options,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()",
        )

    return sleeping


@pytest.mark.slow
def test_a_reverse_killed_anywhere_goes_on_and_ends_in_the_same_rows(demo: Options, tmp_path: Path) -> None:
    query(demo, f"{SLOW} SELECT 1")
    before = query(demo, POSTS), query(demo, ENTRIES), catalogue(demo)
    operator = Operator(tmp_path, demo)
    assert operator.type("migrate.yml").status == 0

    moments = {
        "between two migrations": at_end_of(demo, "20250122000004"),
        "inside one": asleep(demo),
        "behind the last": at_end_of(demo, "20250122000000"),
        "before the run was closed": lambda: not value(demo, WATCHED),
    }
    for name, moment in moments.items():
        running = operator.start(*REVERSE)
        wait_for(moment, running)
        kill_all_of(running)
        assert value(demo, "SELECT state FROM migration_runbook.run") == "open", name

    ended = operator.type(*REVERSE)
    assert ended.status == 0, ended.screen
    assert "Undone: all, by an earlier command" in ended.text
    assert value(demo, "SELECT state FROM migration_runbook.run") == "rolled_back"
    assert (query(demo, POSTS), query(demo, ENTRIES)) == before[:2]
    query(demo, "DROP SCHEMA tracks_posts_separation_kept CASCADE; DROP SCHEMA migration_runbook CASCADE; SELECT 1")
    assert catalogue(demo) == before[2]


@pytest.mark.slow
def test_a_restore_killed_before_the_application_was_started_starts_it_and_restores_nothing_again(
    demo: Options, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    note = "import sys, time; open(sys.argv[1], 'a').write(sys.argv[2] + chr(10)); time.sleep(float(sys.argv[3]))"
    hook = ["{{ ansible_playbook_python }}", "-c", note, str(hooks)]
    operator = Operator(
        tmp_path, demo, application_control_stop={"command": [*hook, "stop", "0"]},
        application_control_start={"command": [*hook, "start", "2"]},
    )  # fmt: skip
    before = query(demo, POSTS)
    assert operator.type("migrate.yml").status == 0

    with connect(demo) as other, other.cursor() as cursor:  # the module of a killed play keeps running
        cursor.execute("SELECT pg_advisory_lock(%s, 1)", (0x52554E42,))
        refused = operator.type(*RESTORE)
    assert refused.status == 2
    assert "another run is active" in refused.text
    assert not hooks.exists(), "the application was stopped or started under its hands"

    running = operator.start(*RESTORE)
    wait_for(lambda: hooks.exists() and "start" in hooks.read_text(), running)
    kill_all_of(running)
    assert query(demo, POSTS) == before
    superuser = {**demo, "user": "supabase_admin"}
    query(
        superuser, "DELETE FROM public.posts WHERE id = (SELECT id FROM public.posts ORDER BY id LIMIT 1) RETURNING 1"
    )

    status = operator.type("playbooks/status.yml").text
    assert "is restored, and the rollback is not complete: it starts the application and closes the run" in status
    assert "next: ansible-playbook rollback.yml -e method=restore" in status
    refused = operator.type(*REVERSE)
    assert refused.status == 2
    assert "reverse is not possible now: the run's backup has been restored" in refused.text
    assert "The rollback was refused. Nothing was changed." in refused.text
    assert "next: nothing" not in refused.text
    assert "the application's start and the report remain" in operator.type("rollback.yml").text
    ended = operator.type(*RESTORE)
    assert ended.status == 0, ended.screen
    assert hooks.read_text().split() == ["stop", "start", "start"]
    assert query(demo, POSTS) == before[1:], "what was written since the restore is kept"
    assert value(demo, "SELECT state FROM migration_runbook.run") == "rolled_back"
    assert operator.report()["state"] == "rolled_back"
    assert "next: ansible-playbook migrate.yml" in operator.type("playbooks/status.yml").text
