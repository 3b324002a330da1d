"""The playbooks around the run: what they show, and that those which only read write nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal import runs
from ansible.module_utils.runbook.plan.loader import load_plan
from support.migrated import Migrated
from support.playbooks import PLAN_DIRECTORY, Operator
from support.servers import REPOSITORY, Options, connect, value

LOG_TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'runbook_change_log_%'"

#: What the old application does, each to rows of any kind; valid before, during and after the migrations.
WRITES = [
    "UPDATE public.posts SET content = content || '.' WHERE id ="
    " (SELECT id FROM public.posts ORDER BY random() LIMIT 1)",
    "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
    " SELECT id, 'new', 'audio', gen_random_uuid() || '.mp3', 'new.mp3' FROM public.profiles ORDER BY random() LIMIT 1",
    "UPDATE public.posts SET audio_url = audio_url || '.2' WHERE id ="
    " (SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY random() LIMIT 1)",
    "DELETE FROM public.posts WHERE id = (SELECT id FROM public.posts ORDER BY random() LIMIT 1)",
    "INSERT INTO public.comments (post_id, user_id, content)"
    " SELECT id, user_id, 'well' FROM public.posts ORDER BY random() LIMIT 1",
    "UPDATE public.playlist_tracks SET position = position + 7 WHERE id ="
    " (SELECT id FROM public.playlist_tracks ORDER BY random() LIMIT 1)",
    "DELETE FROM public.playlist_tracks WHERE id = (SELECT id FROM public.playlist_tracks ORDER BY random() LIMIT 1)",
    "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) SELECT l.id, p.id, 50"
    " FROM public.playlists l CROSS JOIN public.posts p WHERE p.post_type = 'audio' ORDER BY random() LIMIT 2"
    " ON CONFLICT DO NOTHING",
    "UPDATE public.tracks SET play_count = play_count + 1 WHERE id = (SELECT id FROM public.tracks LIMIT 1)",
    "UPDATE public.playlists SET description = 'mine' WHERE id = (SELECT id FROM public.playlists LIMIT 1)",
]


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what the test waits for does not come"
        time.sleep(0.05)


def test_preflight_shows_findings_and_writes_nothing(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    done = operator.type("playbooks/preflight.yml")
    assert done.status == 0, done.screen
    assert "reposted_files" in done.text
    assert operator.runs() == []
    assert value(database, "SELECT to_regnamespace('migration_runbook') IS NULL")


def test_backup_stands_for_itself_and_leaves_the_database_alone(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    done = operator.type("playbooks/backup.yml")
    assert done.status == 0, done.screen
    (run,) = operator.runs()
    assert (run / "backup" / "manifest.json").exists()
    assert (run / "snapshot" / "snapshot.json").exists()
    assert {path.stat().st_mode & 0o077 for path in [run, *run.rglob("*")]} == {0}, "readable by others"
    assert value(database, "SELECT to_regnamespace('migration_runbook') IS NULL")
    # As the refusal of a drill without a run says it: with the directory that this command names.
    assert f"{run}" in done.screen.replace("\n", "")
    drilled = operator.type("playbooks/drill_backup.yml", "-e", f"backup_directory={run}/backup")
    assert drilled.status == 0, drilled.screen
    assert "drilled: " in drilled.text


def test_snapshot_stands_for_itself(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    done = operator.type("playbooks/snapshot.yml")
    assert done.status == 0, done.screen
    (run,) = operator.runs()
    assert (run / "snapshot" / "snapshot.json").exists()
    assert value(database, "SELECT to_regnamespace('migration_runbook') IS NULL")


def test_status_before_the_first_run_says_what_is_pending(database: Options, tmp_path: Path) -> None:
    done = Operator(tmp_path, database).type("playbooks/status.yml")
    assert done.status == 0, done.screen
    assert "20250122000000 pending prepare_tracks_posts_separation" in done.text
    assert "this database has never had a run" in done.text
    assert "the new application must wait for migration 20250122000003" in done.text
    assert "next: ansible-playbook migrate.yml" in done.text


def test_status_after_the_run_says_that_the_new_application_may_start(migrated: Migrated) -> None:
    done = migrated.operator.type("playbooks/status.yml")
    assert done.status == 0, done.screen
    assert "20250122000004 applied finalize_tracks_posts_separation" in done.text
    assert "the new application may start" in done.text


def test_verify_runs_every_check_and_writes_nothing(migrated: Migrated) -> None:
    runs = migrated.operator.runs()
    done = migrated.operator.type("playbooks/verify.yml", "-e", "compare=true")
    assert done.status == 0, done.screen
    assert "passed: All audio posts have a track" in done.text
    assert "Compare the rows with the data snapshot" in done.text
    assert migrated.operator.runs() == runs


def test_report_can_be_made_again(migrated: Migrated) -> None:
    report = migrated.operator.runs()[-1] / "report.json"
    first = migrated.operator.report()
    report.unlink()
    (report.parent / "report.md").unlink()
    done = migrated.operator.type("playbooks/report.yml")
    assert done.status == 0, done.screen
    again = migrated.operator.report()
    assert again["state"] == first["state"] == "complete"
    assert again["checks"] == first["checks"]
    page = report.parent / "report.md"
    assert page.read_text().startswith(f"# Run {again['run']['id']}: complete")
    assert page.stat().st_mode & 0o777 == 0o600


def test_monitor_is_true_while_the_backfill_works(database: Options, tmp_path: Path) -> None:
    operator = Operator(
        tmp_path,
        database,
        migration_execution_limits={"batch_rows": 40, "batch_rows_most": 40, "batch_attempts": 1},
        monitor_interval_seconds=1,
        monitor_limit_seconds=8,
    )
    total = value(database, "SELECT count(*) FROM public.posts WHERE post_type = 'audio'")
    # An index built CONCURRENTLY would wait for the transaction that holds the account: so migration 1 comes before it.
    prepared = operator.type("migrate.yml", "-e", "stop_after=20250122000000")
    assert prepared.status == 0, prepared.screen
    assert operator.report()["state"] == "stopped"
    # Somebody's account is being changed: batches with posts of this user must wait, and no other step does.
    few = "SELECT user_id FROM public.posts WHERE post_type = 'audio' GROUP BY 1 ORDER BY count(*), 1 LIMIT 1"
    account = value(database, few)
    with connect(database) as blocker, blocker.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT FROM public.profiles WHERE id = %s FOR UPDATE", (account,))
        running = operator.start("migrate.yml")
        wait_until(lambda: running.poll() is not None or _stands_still(database))
        assert running.poll() is None, operator.finish(running).screen
        seen = operator.type("playbooks/monitor.yml")
        moved = _moved(database)
        cursor.execute("ROLLBACK")
        done = operator.finish(running)
    assert seen.status == 0, seen.screen
    assert 0 < moved < total
    assert seen.text.count(f"{moved} of {total} rows") > 1, "it looked only once"
    assert done.status == 0, done.screen
    assert _moved(database) == total


def test_what_is_said_before_the_rows_move_leaves_time_to_practise(database: Options, tmp_path: Path) -> None:
    """As docs/runbook.md has it for the demo."""
    operator = Operator(tmp_path, database)
    assert operator.type("migrate.yml", "-e", "stop_after=20250122000000").status == 0
    said = operator.type("playbooks/control.yml", "-e", "control=set", "-e", "batch_rows=1", "-e", "workers=1")
    assert "no run is active; the next start applies the command" in said.text
    assert operator.type("playbooks/control.yml", "-e", "control=pause").status == 0
    running = operator.start("migrate.yml")
    paused = "SELECT EXISTS (SELECT FROM migration_runbook.pause WHERE signal = 'operator' AND ended_at IS NULL)"
    wait_until(lambda: running.poll() is not None or value(database, paused))
    assert running.poll() is None, operator.finish(running).screen
    assert _moved(database) == 0

    resumed = operator.type("playbooks/control.yml", "-e", "control=resume")
    done = operator.finish(running)

    assert "the run has applied it, " in resumed.text
    assert done.status == 0, done.screen
    total = value(database, "SELECT count(*) FROM public.posts WHERE post_type = 'audio'")
    assert value(database, "SELECT count(*) FROM migration_runbook.batch WHERE rows_moved = 1") >= total / 2


def test_a_run_stopped_inside_a_migration_is_fit_to_go_on_for_who_only_looks(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database, migration_execution_limits={"pause_limit_seconds": 1})
    never = tmp_path / "never.sql"
    never.write_text("SELECT 'not now'")
    stopped = operator.type("migrate.yml", "-e", f"migration_execution_health_query_file={never}")
    assert stopped.status == 2, stopped.screen
    assert value(database, "SELECT to_regclass('public.idx_posts_track_id') IS NULL"), "nothing was taken away"

    would = operator.type("migrate.yml", "--check", "--diff")
    verified = operator.type("playbooks/verify.yml")

    for looked in (would, verified):
        assert looked.status == 0, looked.screen
        assert "would be checked: Its index exists and is valid: " in looked.text
        assert "[cannot be judged while migration 20250122000002 is half applied]" in looked.text
    assert "would apply 20250122000002" in would.text
    assert "20250122000002 half applied migrate_audio_posts" in operator.type("playbooks/status.yml").text
    done = operator.type("migrate.yml")
    assert done.status == 0, done.screen
    assert "passed: Its index exists and is valid: " in done.text


def test_a_run_on_a_database_in_use_ends_complete(database: Options, tmp_path: Path) -> None:
    """The application edits, posts, deletes and reorders while the whole playbook runs; no difference is reported."""
    operator = Operator(tmp_path, database)
    stop = threading.Event()
    written: list[int] = []

    def application() -> None:
        with connect(database) as connection, connection.cursor() as cursor:
            while not stop.wait(0.05):
                for statement in WRITES:
                    cursor.execute(statement)
                    written.append(cursor.rowcount)

    writer = threading.Thread(target=application)
    writer.start()
    try:
        done = operator.type("migrate.yml")
    finally:
        stop.set()
        writer.join()

    assert done.status == 0, done.screen
    assert operator.report()["state"] == "complete"
    assert sum(written) > 100, "the application wrote next to nothing"
    demanded = {entry["name"] for entry in operator.report()["fingerprints"] if entry["relation"] == "equal"}
    passed = {entry["name"] for entry in operator.report()["fingerprints"] if entry["status"] == "passed"}
    assert demanded == passed >= {"posts", "comments", "playlists", "existing_tracks", "playlist_order"}
    assert {entry["status"] for entry in operator.report()["counts"]} == {"passed"}

    compared = operator.type("playbooks/verify.yml", "-e", "compare=true")
    assert compared.status == 0, compared.screen
    status = operator.type("playbooks/status.yml")
    assert status.status == 0, status.screen
    assert "written by the application since" in status.text
    assert re.search(r"public\.posts: \d+ rows inserted, \d+ updated, \d+ deleted, last at", status.text)


def test_a_row_changed_behind_the_log_stops_the_run_until_it_is_accepted(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    assert operator.type("migrate.yml", "-e", "stop_after=20250122000000").status == 0
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE public.comments SET content = content || '!'")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE public.posts SET content = content || '!'"
            " WHERE id = (SELECT id FROM public.posts ORDER BY id LIMIT 1) RETURNING id::text"
        )
        (edited,) = cursor.fetchone() or ("",)

    stopped = operator.type("migrate.yml")

    assert stopped.status == 2
    assert f"1 of 11 items differ: - posts: 1 row changed ({edited})" in stopped.text
    assert "the change log does not list them as writes of the application" in stopped.text
    assert operator.report()["state"] == "failed"

    told = operator.type("migrate.yml", "-e", "application_writes=true")

    assert told.status == 0, told.screen
    assert len(operator.runs()) == 1, "it is the same run"
    assert operator.report()["state"] == "complete"
    assert any("the application wrote" in warning for warning in operator.report()["warnings"])
    assert operator.type("playbooks/report.yml").status == 0
    assert operator.report()["state"] == "complete"


def test_the_watch_ends_when_told_and_a_run_that_is_open_keeps_it(database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, database)
    assert operator.type("migrate.yml", "-e", "stop_after=20250122000000").status == 0
    refused = operator.type("playbooks/end_change_log.yml")
    assert refused.status == 2
    assert "is open: its comparison with the snapshot needs the change log. Nothing was changed." in refused.text
    assert operator.type("migrate.yml").status == 0

    would = operator.type("playbooks/end_change_log.yml", "--check")
    assert would.status == 0, would.screen
    assert value(database, LOG_TRIGGERS) == 20
    ended = operator.type("playbooks/end_change_log.yml")
    assert ended.status == 0, ended.screen
    assert value(database, LOG_TRIGGERS) == 0
    again = operator.type("playbooks/end_change_log.yml")
    assert again.status == 0, again.screen
    assert "changed=0" in again.screen
    assert "written by the application" not in operator.type("playbooks/status.yml").text


def test_monitor_ends_when_no_run_is_open(migrated: Migrated) -> None:
    done = migrated.operator.type("playbooks/monitor.yml")
    assert done.status == 0, done.screen
    assert "no run is open" in done.text


def test_a_monitor_that_is_killed_leaves_no_process_behind(empty_database: Options, tmp_path: Path) -> None:
    plan_hash = load_plan(str(PLAN_DIRECTORY))["plan_hash"]
    with session(empty_database, SessionSettings()) as connection:
        runs.open_run(connection, plan="any", plan_hash=plan_hash, run_id="20250122T101500Z-3f9a1c")
    operator, screen = Operator(tmp_path, empty_database, monitor_interval_seconds=2), tmp_path / "screen"
    keyboard, theirs = pty.openpty()
    with screen.open("w") as output:
        monitor = subprocess.Popen(
            [Path(sys.executable).parent / "ansible-playbook", "-i", operator.inventory, "playbooks/monitor.yml"],
            cwd=REPOSITORY, env={**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}, stdin=theirs,
            stdout=output, stderr=output, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # it is asked for by whoever wants to ask the user
        )  # fmt: skip
    os.close(theirs)
    workers: list[int] = []
    try:
        wait_until(lambda: "no session is writing now" in screen.read_text(), seconds=20)
        time.sleep(1)
        workers = _children(monitor.pid)
        assert workers, "it does not wait"
        monitor.kill()
        monitor.wait()
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), seconds=10)
    finally:
        os.close(keyboard)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(child) for child, parent in map(str.split, table.splitlines()) if int(parent) == pid]


def _moved(options: Options) -> int:
    if not value(
        options,
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.posts'::regclass"
        " AND attname = 'track_id' AND NOT attisdropped)",
    ):
        return 0
    return int(value(options, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NOT NULL"))


def _stands_still(options: Options) -> bool:
    """Batches have been committed, and for a while there have been no more."""
    before = _moved(options)
    time.sleep(2)
    return _moved(options) == before > 0
