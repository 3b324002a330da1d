"""Sessions side by side: all of one instant, each query asked once, and usable after a refusal."""

from __future__ import annotations

import threading

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import Cursor, SessionSettings
from ansible.module_utils.runbook.database.readers import for_reading, readers
from ansible.module_utils.runbook.verification.checks import run_checks
from support.orders import create_shop, write_file
from support.servers import Options, query


@pytest.fixture
def shop(empty_database: Options) -> Options:
    create_shop(empty_database)
    return empty_database


def wanted() -> SessionSettings:
    return for_reading(SessionSettings(application_name="runbook test"))


def orders(cursor: Cursor, _item: int = 0) -> int:
    cursor.execute("SELECT count(*) FROM public.orders")
    return int((cursor.fetchone() or (0,))[0])


def test_every_session_reads_the_instant_of_the_first(shop: Options) -> None:
    together = threading.Barrier(3)

    def count_in_a_session_of_its_own(cursor: Cursor, _item: int) -> tuple[int, int]:
        together.wait(30)  # none is free for a second item before all have one
        return orders(cursor), cursor.connection.info.backend_pid

    with readers(shop, wanted(), 3) as side_by_side:
        before = orders(side_by_side.first)
        query(shop, "TRUNCATE public.lines; DELETE FROM public.orders")
        found = side_by_side.map(count_in_a_session_of_its_own, range(3))
    assert [count for count, _ in found] == [before] * 3
    assert before > 0
    assert len({process for _, process in found}) == 3


def test_what_the_server_refuses_leaves_the_sessions_usable(shop: Options) -> None:
    def refused(cursor: Cursor, item: int) -> int:
        if item % 2:
            cursor.execute("SELECT nothing")
        return item

    with readers(shop, wanted()) as side_by_side:
        with pytest.raises(psycopg2.errors.UndefinedColumn):
            side_by_side.map(refused, range(6))
        assert side_by_side.map(orders, range(6)) == [50] * 6


def test_sessions_only_read(shop: Options) -> None:
    with readers(shop, wanted()) as side_by_side, pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        side_by_side.map(lambda cursor, text: cursor.execute(text), ["DELETE FROM public.orders"] * 2)


def test_checks_that_share_a_query_are_judged_each_by_its_one_answer(shop: Options, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    text = "SELECT count(*) AS orders, count(*) AS rows_examined FROM public.orders"
    path = write_file(tmp_path, "orders.sql", text)
    same = write_file(tmp_path, "again.sql", f"{text}\n")
    asked: list[str] = []
    ask = "ansible.module_utils.runbook.verification.checks.one_row"
    monkeypatch.setattr(ask, lambda cursor, text: asked.append(text) or {"orders": orders(cursor), "rows_examined": 50})
    checks = [
        {"name": "all", "query": path, "expect": {"orders": 50}},
        {"name": "too_few", "query": same, "expect": {"orders": {"at_least": 51}}},
    ]
    with readers(shop, wanted()) as side_by_side:
        results = run_checks(side_by_side, checks, {})
    assert [result["status"] for result in results] == ["passed", "failed"]
    assert asked == [text]


def test_no_session_has_workers_of_its_own(shop: Options) -> None:
    """As many sessions as are asked for are as many processes, and no more."""

    def workers(cursor: Cursor, _item: int) -> str:
        cursor.execute("SHOW max_parallel_workers_per_gather")
        return str((cursor.fetchone() or ("",))[0])

    with readers(shop, wanted(), 2) as side_by_side:
        assert side_by_side.map(workers, range(4)) == ["0"] * 4
