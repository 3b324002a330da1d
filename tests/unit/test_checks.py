"""How the row of a check is judged, above all when it examined nothing."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible.module_utils.runbook.database.readers import Readers
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.verification.checks import (
    Answer,
    Question,
    judge,
    refuse_failures,
    run_checks,
    would_be_checked,
)

CHECK: dict[str, Any] = {"name": "none_left", "expect": {"left": 0}}


def counted(**more: Any) -> dict[str, Any]:
    return {**CHECK, "counted_by": "order_count", **more}


@pytest.mark.parametrize(
    ("check", "row", "counts", "status", "why"),
    [
        (CHECK, {"left": 0, "rows_examined": 9}, {}, "passed", ""),
        (CHECK, {"left": 3, "rows_examined": 9}, {}, "failed", "found left = 3"),
        (CHECK, {"left": 0, "rows_examined": 0}, {}, "failed", "it examined no rows, so it proves nothing"),
        (CHECK, {"left": None, "rows_examined": 0}, {}, "failed", "found left = NULL"),
        (
            counted(),
            {"left": 0, "rows_examined": 0},
            {"order_count": 7},
            "failed",
            "it examined no rows, but the snapshot counted 7 (order_count)",
        ),
        (
            counted(),
            {"left": 0, "rows_examined": 0},
            {"order_count": 0},
            "nothing_to_examine",
            "there are no rows to examine; the snapshot counted 0 (order_count)",
        ),
        (
            counted(),
            {"left": None, "rows_examined": 0},
            {},
            "nothing_to_examine",
            "there are no rows to examine; there is no snapshot",
        ),
        (counted(), {"left": 2, "rows_examined": 0}, {"order_count": 0}, "failed", "found left = 2"),
        (counted(informational=True), {"left": 2, "rows_examined": 9}, {}, "information", ""),
        (counted(informational=True), {"left": 0, "rows_examined": 0}, {"order_count": 7}, "information", ""),
    ],
)
def test_a_row_is_judged(
    check: dict[str, Any], row: dict[str, Any], counts: dict[str, int | None], status: str, why: str
) -> None:
    assert judge(check, row, counts) == (status, why)


def test_a_query_without_rows_examined_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="must return rows_examined"):
        judge(CHECK, {"left": 0}, {})


def test_checks_of_what_is_not_applied_are_listed(tmp_path: pathlib.Path) -> None:
    query = tmp_path / "check.sql"
    query.write_text("SELECT 0 AS left\n")
    (result,) = would_be_checked([{**CHECK, "query": str(query)}])
    assert result["status"] == "would_be_checked"
    assert result["query"] == "SELECT 0 AS left"
    assert result["expectation"] == "left = 0"
    assert result["title"] == "none_left"


def test_the_check_that_is_asked_first_keeps_its_place_in_the_report(tmp_path: pathlib.Path) -> None:
    asked: list[str] = []

    class Recorder(Readers):
        def map(self, _work: Any, items: Any) -> list[Any]:
            asked.extend(item.text for item in items if isinstance(item, Question))
            return [Answer(row={"left": 0, "rows_examined": 9}) for _ in items]

    def check(name: str, **more: Any) -> dict[str, Any]:
        (tmp_path / name).write_text(f"SELECT {name}", encoding="utf-8")
        return {**CHECK, "name": name, "query": str(tmp_path / name), **more}

    checks = [check("short"), check("shorter"), check("long", asked_first=True), check("last")]
    results = run_checks(Recorder([]), checks, {})
    assert asked[:4] == ["SELECT long", "SELECT short", "SELECT shorter", "SELECT last"]
    assert [(result["name"], result["status"]) for result in results] == [
        ("short", "passed"),
        ("shorter", "passed"),
        ("long", "passed"),
        ("last", "passed"),
    ]


def test_a_query_file_that_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunbookError, match=r"nothing\.sql cannot be read: No such file"):
        would_be_checked([{**CHECK, "query": str(tmp_path / "nothing.sql")}])


def test_all_failures_are_in_one_message() -> None:
    base = {"status": "failed", "expectation": "left = 0", "rows_examined": 9, "offenders": [], "offenders_total": 0}
    first = {**base, "name": "a", "title": "No A left", "why": "found left = 3"}
    first = {**first, "offenders": [{"id": 1}, {"id": 2}], "offenders_total": 3}
    second = {**base, "name": "b", "title": "No B left", "why": "the server refused", "rows_examined": None}
    passed = {**base, "name": "c", "status": "passed"}
    with pytest.raises(RunbookError) as caught:
        refuse_failures([first, passed, second], {"results": []})
    assert caught.value.msg.splitlines() == [
        "2 of 3 checks failed.",
        "- No A left (a): found left = 3. Expected: left = 0; 9 rows examined. Offending rows, 3 in all:",
        "  id=1",
        "  id=2",
        "  … and 1 more",
        "- No B left (b): the server refused. Expected: left = 0.",
    ]
    assert caught.value.object_name == "a, b"
