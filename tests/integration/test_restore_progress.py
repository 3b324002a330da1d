"""What a restore, a drill and a swap write for the screen while they load: true, in order, and ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.backup import manifest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.progress import loading
from support.servers import Options, Server
from support.shop import TABLES
from support.swap_shop import SwapShop

RunModule = Callable[..., dict[str, Any]]
ORDERS = 30000


@pytest.fixture
def shop(
    server: Server, empty_database: Options, run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SwapShop]:
    monkeypatch.setattr(loading, "LOOK_SECONDS", 0.005)
    made = SwapShop(server, empty_database, run_module, tmp_path, orders=ORDERS)
    made.back_up()
    (tmp_path / "progress.jsonl").touch()
    yield made
    for name in made.databases() - {made.live}:
        server.drop_database({"dbname": name})


def entries(shop: SwapShop) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in (shop.path / "progress.jsonl").read_text().splitlines()]
    return [entry for entry in told if entry["kind"] == "load"]


def restore(shop: SwapShop, **params: Any) -> dict[str, Any]:
    return shop.run_module(
        "pg_restore", connection=shop.options, backup_directory=str(shop.path / "backup"),
        tables=TABLES, **params,
    )  # fmt: skip


def drill(shop: SwapShop, **params: Any) -> dict[str, Any]:
    return shop.run_module(
        "pg_restore_drill", connection=shop.options, backup_directory=str(shop.path / "backup"), **params
    )


WAYS: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "in_place": (restore, "load the backup's rows beside the live tables"),
    "swap": (lambda shop, **params: shop.swap("prepare", **params), "load the backup into "),
    "drill": (drill, "load the backup into runbook_drill_"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_rows_that_are_loaded_are_shown_until_it_is_done(shop: SwapShop, way: str) -> None:
    call, step = WAYS[way]
    done = call(shop, progress_file=str(shop.path / "progress.jsonl"))
    assert not done["failed"], done["msg"]
    *running, last = entries(shop)
    rows = manifest.read(str(shop.path / "backup"))["rows"]
    total = sum(rows.values()) if way != "in_place" else sum(rows[table["table"]] for table in TABLES)
    assert {entry["rows_total"] for entry in [*running, last]} == {total}
    assert {entry["state"] for entry in running} == {"running"}
    assert all(entry["step"].startswith(step) for entry in [*running, last])
    counted = [entry["rows_done"] for entry in running]
    assert counted == sorted(counted)
    assert any(0 < rows_done < total for rows_done in counted), "it was looked at too seldom"
    assert last["state"] == "done"


def test_a_load_that_fails_is_not_shown_as_done(shop: SwapShop) -> None:
    refused = shop.swap("prepare", progress_file=str(shop.path / "progress.jsonl"), jobs=0)
    assert refused["failed"]
    assert entries(shop)[-1]["state"] == "failed"


def test_nobody_is_asked_where_nobody_looks(shop: SwapShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ROWS", "SELECT 1 / 0")
    assert not shop.swap("prepare")["failed"]
    assert entries(shop) == []


def test_what_cannot_be_counted_stops_no_restore(shop: SwapShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ROWS", "SELECT 1 / 0")
    assert not shop.swap("prepare", progress_file=str(shop.path / "progress.jsonl"))["failed"]
    assert [entry["state"] for entry in entries(shop)] == ["done"]


def test_without_a_connection_for_it_the_restore_goes_on(shop: SwapShop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise RunbookError("sorry, too many clients already")

    monkeypatch.setattr(loading, "open_session", full)
    assert not shop.swap("prepare", progress_file=str(shop.path / "progress.jsonl"))["failed"]
    assert entries(shop)[-1]["state"] == "done"
