"""pg_sessions: the application's sessions end, others stay, and whoever still writes is named."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import libpq_parameters
from support.servers import SUPERUSER, Options, connect, query

RunModule = Callable[..., dict[str, Any]]
EndSessions = Callable[..., dict[str, Any]]


@pytest.fixture
def shop(empty_database: Options) -> Iterator[Options]:
    admin = {**empty_database, "user": SUPERUSER}
    query(admin, "CREATE ROLE shop_clerk LOGIN")
    query(admin, "CREATE ROLE shop_report LOGIN")
    query(admin, "CREATE TABLE public.orders (id int)")
    query(admin, "GRANT ALL ON public.orders TO PUBLIC")
    yield empty_database
    query(admin, "DROP OWNED BY shop_clerk, shop_report")
    query(admin, "DROP ROLE shop_clerk, shop_report")
    query(admin, "GRANT pg_signal_backend TO postgres")


@pytest.fixture
def end(shop: Options, run_module: RunModule) -> EndSessions:
    def call(**params: Any) -> dict[str, Any]:
        quick = {"tables": ["public.orders"], "quiet_seconds": 0.3, "watch_seconds": 1.5, "end_timeout_seconds": 2}
        return run_module("pg_sessions", connection=shop, **{**quick, **params})

    return call


def alive(connection: Any) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.OperationalError:
        return False
    return True


def test_the_applications_sessions_end_and_others_stay(shop: Options, end: EndSessions) -> None:
    with (
        connect({**shop, "user": "shop_clerk"}, application_name="web") as clerk,
        connect({**shop, "user": "shop_clerk"}) as writing,
        connect({**shop, "user": "shop_report"}) as report,
        connect(shop) as own,
        connect({**shop, "user": SUPERUSER}) as host,
    ):
        writing.autocommit = False
        writing.cursor().execute("INSERT INTO public.orders VALUES (1)")
        would = end(except_roles=["shop_report"], _check=True)
        assert len(would["sessions"]) == 2
        assert "application web" in would["msg"]
        assert alive(clerk)

        ended = end(except_roles=["shop_report"])
        assert not ended["failed"], ended["msg"]
        assert {one["user"] for one in ended["sessions"]} == {"shop_clerk"}
        assert "nobody wrote to 1 tables in 1.5 s" in ended["msg"]
        assert [alive(one) for one in (clerk, writing, report, own, host)] == [False, False, True, True, True]
        again = end(except_roles=["shop_report"])
        assert not again["changed"]
        rest = end(except_own_role=False)
        assert {one["user"] for one in rest["sessions"]} == {"postgres", "shop_report"}
        assert [alive(report), alive(own), alive(host)] == [False, False, True]
    assert query(shop, "SELECT * FROM public.orders") == []


def test_an_application_that_comes_back_is_not_called_stopped(shop: Options, end: EndSessions) -> None:
    stop = threading.Event()

    def keep_connecting() -> None:
        while not stop.is_set():
            parameters = libpq_parameters({**shop, "user": "shop_clerk"})
            try:
                connection = psycopg2.connect(**parameters, application_name="pool")
                while not stop.is_set() and alive(connection):
                    time.sleep(0.02)
                connection.close()
            except psycopg2.Error:
                time.sleep(0.02)

    pool = threading.Thread(target=keep_connecting)
    pool.start()
    try:
        time.sleep(0.3)
        refused = end()
    finally:
        stop.set()
        pool.join()
    assert refused["failed"]
    assert "are still connected after" in refused["msg"]
    assert "application pool" in refused["msg"]
    assert "application_control_stop" in refused["next_command"]


def test_a_role_that_stays_and_writes_is_named(shop: Options, end: EndSessions) -> None:
    with connect({**shop, "user": "shop_report"}, application_name="nightly") as report:
        report.autocommit = False
        report.cursor().execute("INSERT INTO public.orders VALUES (1)")
        refused = end(except_roles=["shop_report"])
    assert refused["failed"]
    assert "public.orders is still written by pid" in refused["msg"]
    assert "application nightly" in refused["msg"]


def test_short_writes_are_found_by_what_they_leave(shop: Options, end: EndSessions) -> None:
    """Between two checks no lock is held, but the counters of the table show the write."""
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.3):
            query({**shop, "user": SUPERUSER}, "INSERT INTO public.orders VALUES (1)")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        refused = end()
    finally:
        stop.set()
        writer.join()
    assert "public.orders is still written" in refused["msg"]


def test_a_session_that_this_role_may_not_end_is_named(shop: Options, end: EndSessions) -> None:
    query({**shop, "user": SUPERUSER}, "REVOKE pg_signal_backend FROM postgres")
    with connect({**shop, "user": "shop_clerk"}) as clerk:
        refused = end()
        assert alive(clerk)
    assert "this role may not end pid" in refused["msg"]
    assert "GRANT pg_signal_backend" in refused["next_command"]
