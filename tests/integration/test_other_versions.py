"""The modules around a run on the oldest and the newest server: one short way through each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.migration.backfill import ranges
from ansible.module_utils.runbook.migration.migrate import migrate
from ansible.module_utils.runbook.plan.loader import load_plan
from support.fixtures import installed_server
from support.modules import run_module
from support.playbooks import PLAN_DIRECTORY
from support.servers import Options, Server, connect, load_demo, query, value
from support.tiny import MOVE, PREPARE, SETTINGS, load_shop, plan_of

PLAN = load_plan(str(PLAN_DIRECTORY))


@pytest.fixture(scope="module", params=[15, 18], ids=lambda major: f"postgres{major}")
def other(request: pytest.FixtureRequest) -> Iterator[Server]:
    with installed_server(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def dirty(other: Server) -> Options:
    options = other.create_database()
    load_demo(options, audio_posts=100, dirty=True)
    return options


def done(name: str, options: Options, **params: Any) -> dict[str, Any]:
    result = run_module(name, connection=dict(options), **params)
    assert not result["failed"], result["msg"]
    return result


def test_a_backup_is_drilled(other: Server, tmp_path: Path) -> None:
    clean = other.create_database()
    load_demo(clean, audio_posts=100)
    tables = [entry["table"] for entry in PLAN["protected_tables"]]
    backup = {"directory": str(tmp_path / "backup"), "schemas": ["public"], "tables": tables, "minimum_bytes": 1}
    snapshot = {"directory": str(tmp_path / "snapshot"), "fingerprints": PLAN["snapshot"]["fingerprints"]}
    done("pg_backup", clean, **backup, snapshot=snapshot)
    drilled = done(
        "pg_restore_drill", clean, backup_directory=backup["directory"], prerequisites_file=PLAN["prerequisites"]
    )
    assert drilled["restore_seconds"] > 0


def test_the_applications_sessions_end(dirty: Options) -> None:
    with connect({**dirty, "user": "authenticator"}, application_name="web") as web:
        ended = done("pg_sessions", dirty, tables=["public.posts"], watch_seconds=1, end_timeout_seconds=3)
        assert ended["ended_at_epoch"] > 0
        with pytest.raises(Exception, match=r"terminat|closed"), web.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_dirty_rows_are_archived_come_back_and_are_lost_by_a_restore(dirty: Options, tmp_path: Path) -> None:
    done("pg_change_log", dirty, tables=PLAN["protected_tables"], kept=PLAN["change_log"])
    found = done("pg_repair", dirty, plan=PLAN)
    assert any(entry.endswith(" rows of orphaned_posts") for entry in found["left_in_the_way"])
    archived = done("pg_repair", dirty, plan=PLAN, issue="orphaned_posts", apply=True, remedy="archive")
    assert archived["rows_left"] == 0
    run = {"id": "20260101T000000Z-abcdef", "directory": str(tmp_path), "plan_hash": "", "state": "open"}
    assessed = done("pg_rollback_info", dirty, plan=PLAN, run={**run, "environment": "local", "host": "h"})
    posts = next(table for table in assessed["written"]["tables"] if table["table"] == "public.posts")
    assert posts["deleted"] > 0
    assert {row["operation"] for row in posts["samples"]} == {"deleted"}
    back = done("pg_restore_archived", dirty, plan=PLAN, archived_by=archived["repair_id"])
    assert back["rows_restored"] == archived["rows_archived"]


def test_a_table_is_outside_its_publication_for_the_backfill(other: Server) -> None:
    options = other.create_database()
    load_shop(options)
    usual = {"connection": options, "plan": plan_of(), "plan_settings": SETTINGS, "state": "applied", "run": None}
    usual |= {"volume_class": "", "snapshot_counts": {}, "limits": {}, "unpublish_during_backfill": True}
    migrate({**usual, "version": PREPARE}, check_mode=False)
    query(options, "CREATE PUBLICATION changes FOR TABLE shop.orders (id, customer) WHERE (id IS NOT NULL)")
    membership = "SELECT attnames::text || rowfilter FROM pg_publication_tables"
    before = value(options, membership)
    result = migrate({**usual, "version": MOVE}, check_mode=False)
    assert [entry["outcome"] for entry in result["publications"]] == ["put back"]
    assert value(options, membership) == before


def test_keys_of_another_collation_are_cut_in_its_order(other: Server) -> None:
    """The order of a bare text is the database's: ranges would overlap, and leave keys out."""
    options = other.create_database()
    if not query(options, "SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'"):
        pytest.skip("this server was built without ICU: it has no collation with another order")
    query(
        options,
        'CREATE SCHEMA shop; CREATE TABLE shop.labels (label text COLLATE "und-x-icu" PRIMARY KEY);'
        "INSERT INTO shop.labels SELECT chr((CASE WHEN n % 2 = 0 THEN 65 ELSE 97 END) + n % 26) || n"
        " FROM generate_series(1, 4000) AS n;"
        "ANALYZE shop.labels",
    )
    with connect(options) as connection, connection.cursor() as cursor:
        found = ranges.divide(cursor, "shop.labels", "label", 200, 2)
        inside = "SELECT count(*) FROM shop.labels WHERE label > coalesce(%s, '') AND (%s IS NULL OR label <= %s)"
        counts = [value(options, inside, (each.after, each.upto, each.upto)) for each in found]
    assert len(found) > 10
    assert sum(counts) == 4000
    assert min(counts) > 0
