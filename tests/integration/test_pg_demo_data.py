"""pg_demo_data fills an empty database once, and touches no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.modules import run_module
from support.servers import Options, query, value

SCHEMA = "CREATE TABLE public.orders (id integer PRIMARY KEY, seed text);"
ROWS = """
INSERT INTO public.orders
SELECT n, pg_catalog.current_setting('demo.seed')
FROM pg_catalog.generate_series(1, pg_catalog.current_setting('demo.orders')::integer) AS n;
"""


@pytest.fixture
def files(tmp_path: Path) -> dict:
    (tmp_path / "schema.sql").write_text(SCHEMA)
    (tmp_path / "rows.sql").write_text(ROWS)
    (tmp_path / "summary.sql").write_text("SELECT count(*) AS orders FROM public.orders")
    return {
        "files": [str(tmp_path / "schema.sql"), str(tmp_path / "rows.sql")],
        "summary_query": str(tmp_path / "summary.sql"),
    }


def load(options: Options, files: dict, *, _check: bool = False, **settings) -> dict:
    return run_module("pg_demo_data", _check=_check, connection=options, settings=settings, **files)


def test_a_database_is_filled_once(empty_database: Options, files: dict) -> None:
    would = load(empty_database, files, orders=5, seed=1, _check=True)
    assert (would["changed"], would["loaded"], would["summary"]) == (True, False, {})
    assert would["msg"].endswith(": would be filled")
    assert query(empty_database, "SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'public'") == []

    filled = load(empty_database, files, orders=5, seed=1)
    assert (filled["changed"], filled["loaded"], filled["summary"]) == (True, True, {"orders": 5})
    assert filled["settings"] == {"demo.orders": "5", "demo.seed": "1"}
    assert value(empty_database, "SELECT count(*) FROM public.orders WHERE seed = '1'") == 5

    for check in (False, True):
        again = load(empty_database, files, orders=5, seed=1, _check=check)
        assert (again["changed"], again["loaded"], again["summary"]) == (False, True, {"orders": 5})
        assert again["msg"].endswith(": already filled")


def test_other_settings_are_refused(empty_database: Options, files: dict) -> None:
    load(empty_database, files, orders=5, seed=1)
    failed = load(empty_database, files, orders=6, seed=1)
    assert failed["msg"] == (
        "the database was filled with other settings: demo.orders is 5, asked for 6. Nothing was changed. "
        "Next: make stop, then make demo with the new settings"
    )
    assert value(empty_database, "SELECT count(*) FROM public.orders") == 5


def test_a_database_of_somebody_is_refused(empty_database: Options, files: dict) -> None:
    query(empty_database, "CREATE TABLE public.invoices (id integer)")
    for check in (True, False):
        failed = load(empty_database, files, orders=5, seed=1, _check=check)
        assert "the database is not empty: it contains 1 tables or views, the first is public.invoices" in failed["msg"]
        assert failed["next_command"] == "connect to an empty database"


def test_a_load_that_fails_leaves_nothing_and_names_the_file(
    empty_database: Options, files: dict, tmp_path: Path
) -> None:
    (tmp_path / "rows.sql").write_text(ROWS + "SELECT 1 / 0;")
    failed = load(empty_database, files, orders=5, seed=1)
    assert failed["msg"] == f"cannot run {tmp_path}/rows.sql: division by zero. Nothing was changed."
    assert failed["sqlstate"] == "22012"
    assert query(empty_database, "SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'public'") == []


def test_a_setting_with_an_impossible_name_is_refused(empty_database: Options, files: dict) -> None:
    failed = load(empty_database, files, **{"or ders": 1})
    assert "not a name for a setting: or ders" in failed["msg"]
