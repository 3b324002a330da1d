"""Performance queries measured on a real database, with the ids that weigh most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.orders import create_shop, write_file
from support.servers import Options, query, value

Measure = Callable[..., dict[str, Any]]

HEAVIEST = "SELECT order_id FROM public.lines GROUP BY order_id ORDER BY count(*) DESC, order_id LIMIT 1"


@pytest.fixture
def shop(empty_database: Options) -> Options:
    create_shop(empty_database)
    query(empty_database, "INSERT INTO public.lines SELECT n, 42, n FROM generate_series(1000, 1100) AS n")
    return empty_database


@pytest.fixture
def measure(shop: Options, run_module: Callable[..., dict[str, Any]]) -> Measure:
    def call(*queries: dict[str, Any], **options: Any) -> dict[str, Any]:
        return run_module("pg_explain_info", connection=shop, queries=list(queries), **options)

    return call


def entry(directory: Path, text: str, parameters: str = "", name: str = "lines", **more: Any) -> dict[str, Any]:
    query_file = write_file(directory, f"{name}.sql", text)
    given = {"parameters": write_file(directory, f"{name}_parameters.sql", parameters)} if parameters else {}
    return {"name": name, "query": query_file, "threshold_milliseconds": 10000, **given, **more}


def test_a_query_is_measured_five_times_with_the_heaviest_id(measure: Measure, tmp_path: Path) -> None:
    lines = entry(tmp_path, "SELECT * FROM public.lines WHERE order_id = %(order_id)s;", HEAVIEST + ";")
    for mode in (False, True):
        result = measure(lines, _check=mode)
        assert not result["failed"]
        assert not result["changed"]
        (measured,) = result["results"]
        assert measured["status"] == "passed"
        assert measured["parameters"] == {"order_id": 42}
        assert measured["rows_returned"] == 105
        assert len(measured["milliseconds"]) == 5
        assert measured["median_milliseconds"] == round(sorted(measured["milliseconds"])[2], 3)
        assert measured["buffers"]["hit"] > 0
        assert result["slow"] == []


def test_a_scan_of_a_small_table_is_right_and_of_a_larger_one_reported(measure: Measure, tmp_path: Path) -> None:
    whole = entry(tmp_path, "SELECT sum(amount) FROM public.lines")
    small = measure(whole)["results"][0]
    assert small["sequential_scans"] == [{"table": "public.lines", "rows": 301, "loops": 1}]
    assert small["index_use_ok"] is True
    result = measure(whole, sequential_scan_allowed_rows=300)
    assert not result["failed"]
    assert result["results"][0]["index_use_ok"] is False
    assert result["warnings_found"] == ["lines: a sequential scan read 301 rows of public.lines (limit 300)"]
    assert result["slow"] == []
    early = measure(entry(tmp_path, "SELECT * FROM public.lines LIMIT 15"), sequential_scan_allowed_rows=300)
    assert early["results"][0]["index_use_ok"] is True


def test_an_index_is_named(measure: Measure, tmp_path: Path) -> None:
    indexed = entry(tmp_path, "SELECT id FROM public.orders ORDER BY id LIMIT 3")
    assert measure(indexed)["results"][0]["indexes_used"] == ["orders_pkey"]


def test_over_the_threshold_is_a_warning_and_no_failure(measure: Measure, tmp_path: Path) -> None:
    slow = entry(tmp_path, "SELECT sum(amount) FROM public.lines", threshold_milliseconds=0.0001)
    result = measure(slow, executions=2)
    assert not result["failed"]
    assert result["slow"] == ["lines"]
    assert result["results"][0]["status"] == "warning"
    assert "must be less than 0.0001 ms" in result["warnings_found"][0]


def test_a_query_that_runs_into_the_time_limit_is_slow(measure: Measure, tmp_path: Path) -> None:
    result = measure(entry(tmp_path, "SELECT * FROM pg_sleep(5)"), statement_timeout_seconds=1)
    assert not result["failed"]
    assert result["slow"] == ["lines"]
    (measured,) = result["results"]
    assert measured["median_milliseconds"] is None
    assert measured["why"] == "it exceeded the statement timeout"


@pytest.mark.parametrize(
    "parameters",
    [
        "SELECT order_id FROM public.lines WHERE false",
        "SELECT max(id) AS order_id FROM public.lines WHERE false",
    ],
)
def test_without_parameters_there_is_nothing_to_examine(measure: Measure, tmp_path: Path, parameters: str) -> None:
    lines = entry(tmp_path, "SELECT * FROM public.lines WHERE order_id = %(order_id)s", parameters)
    result = measure(lines)
    assert not result["failed"]
    assert result["results"][0]["status"] == "nothing_to_examine"
    assert result["slow"] == []


def test_a_query_the_server_refuses_fails_after_the_others_ran(measure: Measure, shop: Options, tmp_path: Path) -> None:
    writing = entry(tmp_path, "DELETE FROM public.lines", name="writing")
    result = measure(writing, entry(tmp_path, "SELECT 1"))
    assert result["failed"]
    assert "writing.sql): the server refused the query: cannot execute DELETE in a read-only" in result["msg"]
    assert [measured["status"] for measured in result["results"]] == ["failed", "passed"]
    assert value(shop, "SELECT count(*) FROM public.lines") == 301


def test_a_percent_sign_needs_no_escape_without_parameters(measure: Measure, tmp_path: Path) -> None:
    result = measure(entry(tmp_path, "SELECT * FROM public.orders WHERE note LIKE '%ote 1'"))
    assert result["results"][0]["rows_returned"] == 1


def test_what_is_not_applied_would_be_checked(measure: Measure, tmp_path: Path) -> None:
    for lacking in ({"applied": False}, {"needs_versions": ["29990101000000"]}):
        result = measure(entry(tmp_path, "SELECT nothing"), **lacking, _check=True)
        assert result["results"][0]["status"] == "would_be_checked"
        assert result["slow"] == []
