"""The application load of bench/: what it does, and that its failures are seen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from application import Background
from bursts import LoadOn, broken, burst, superuser
from plan_sql import FINALIZE, VERSIONS, apply, owner_session
from support.servers import REPOSITORY, Options, connect, query, value

from bench import invariants, slot_reader

DatabaseAt = Callable[[str], Options]


def test_the_old_application_meets_no_error_before_the_migration(database: Options, tmp_path: Path) -> None:
    invariants.before(superuser(database), tmp_path)

    load = burst(database, write_share=0.3)

    assert load["errors"] == {}, load["error_list"]
    assert load["rate_reached"] > 150
    assert load["never_started"] == 0
    assert set(load["expected"].values()) <= {0, load["expected"]["gone_meanwhile"]}, load["expected"]
    assert 0.2 < load["milliseconds"]["writes"]["statements"] / load["statements"] < 0.4
    assert not {"post_new", "track_new", "playlist_by_track"} & load["kinds"].keys(), "that is the new application"
    assert broken(database, tmp_path, load) == {}


def test_a_load_before_during_and_after_the_migration_breaks_nothing(database: Options, tmp_path: Path) -> None:
    invariants.before(superuser(database), tmp_path)
    done = threading.Event()
    load = Background(lambda: burst(database, 60, write_share=0.4, until=done.is_set))
    time.sleep(2)

    for version in VERSIONS:
        apply(database, version)
        query(database, "INSERT INTO supabase_migrations.schema_migrations (version) VALUES (%s)", (version,))
    time.sleep(4)
    done.set()
    measured = load.finish()

    assert measured["errors"] == {}, measured["error_list"]
    assert measured["kinds"]["post_new"]["statements"] > 0
    assert measured["kinds"]["playlist_by_function"]["statements"] > 0
    assert [entry["version"] for entry in measured["versions"]] == list(VERSIONS)
    assert 0 < measured["expected"]["trap_25"] <= 8, "twice per connection at most: two statements are prepared"
    assert broken(database, tmp_path, measured) == {}


def test_the_same_seed_asks_for_the_same(database_at: DatabaseAt) -> None:
    first, second = (burst(database_at(FINALIZE), 2, seed=5) for _ in range(2))
    numbers = [{kind: part["statements"] for kind, part in load["kinds"].items()} for load in (first, second)]
    reads = [
        {kind: number for kind, number in part.items() if kind.startswith(("feed", "post_by"))} for part in numbers
    ]
    assert all(abs(reads[0][kind] - reads[1][kind]) <= 4 for kind in reads[0]), reads


def test_waiting_shows_as_latency_and_names_who_made_it_wait(database: Options) -> None:
    load = Background(lambda: burst(database, 4))
    time.sleep(1)
    with connect(superuser(database), application_name="somebody in the way") as session, session.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE public.posts IN ACCESS EXCLUSIVE MODE")
        time.sleep(1)
        cursor.execute("ROLLBACK")
    measured = load.finish()

    assert measured["errors"] == {}, measured["error_list"]
    assert measured["milliseconds"]["reads"]["max"] > 900
    # Of 200 statements that were due in that second most waited, though four connections can only send four.
    assert sum(1 for wait in measured["longest"] if wait["milliseconds"] > 500) == len(measured["longest"])
    assert any(entry["blocked_by"] == "somebody in the way" for entry in measured["blocked"]), measured["blocked"]
    assert max(line["max"] or 0 for line in measured["timeline"]) > 900


def test_an_error_is_counted_by_its_sqlstate_and_kind(database: Options) -> None:
    with owner_session(database) as owner, owner.cursor() as cursor:
        cursor.execute("ALTER TABLE public.comments ADD CONSTRAINT silence CHECK (content <> 'Heard it.') NOT VALID")

    load = burst(database, 2, write_share=1)

    assert set(load["errors"]) == {"23514 comment"}
    assert load["failed"] == load["errors"]["23514 comment"] > 0
    assert "silence" in load["error_list"][0]["message"]
    assert load["error_list"][0]["values"]["content"] == "Heard it."


def test_a_write_that_finds_nothing_is_an_error(database: Options, load_on: LoadOn) -> None:
    application = load_on(database)
    application.one_row("edit_text", application.world.all_users[0], {"post": application.new_id(), "content": "?"})
    assert dict(application.record.errors) == {"wrong result edit_text": 1}
    assert application.record.listed[0]["message"] == "0 rows instead of 1"


def test_the_slot_reader_counts_changes_and_drops_its_slot(database: Options) -> None:
    ready, done = threading.Event(), threading.Event()
    reader = Background(lambda: slot_reader.read(superuser(database), "test_reader", done.is_set, 30, ready.set))
    assert ready.wait(10)
    query(database, "UPDATE public.posts SET content = content || '.'")
    posts = value(database, "SELECT count(*) FROM public.posts")
    time.sleep(1)
    done.set()
    result = reader.finish()

    assert result["events"]["updates"] == posts
    assert value(database, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'test_reader'") == 0


def test_a_load_that_is_told_to_end_writes_its_result(database: Options, tmp_path: Path) -> None:
    output = tmp_path / "traffic.json"
    command = [sys.executable, "-m", "bench.traffic", "--host", database["host"], "--port", str(database["port"])]
    command += ["--dbname", database["dbname"], "--seconds", "60", "--output", str(output)]
    running = subprocess.Popen(command, cwd=REPOSITORY)
    deadline = time.monotonic() + 20
    while not value(database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'traffic'"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1.5)
    running.send_signal(signal.SIGTERM)

    assert running.wait(20) == 0
    result = json.loads(output.read_text())
    assert result["statements"] > 50
    assert result["failed"] == 0
    assert result["own_cpu_share"] < 0.5
