"""How the plan of a performance query is read and judged."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.runbook.verification.explain import judge, read_plan


def seq_scan(rows: float, removed: float = 0, loops: int = 1, kind: str = "Seq Scan") -> dict[str, Any]:
    return {
        "Node Type": kind,
        "Schema": "public",
        "Relation Name": "orders",
        "Actual Rows": rows,
        "Rows Removed by Filter": removed,
        "Actual Loops": loops,
    }


def measured(*scans: dict[str, Any], median: float = 1.0) -> dict[str, Any]:
    top = {"Node Type": "Limit", "Actual Rows": 15, "Actual Loops": 1, "Plans": list(scans)}
    return {**read_plan(top), "median_milliseconds": median, "threshold_milliseconds": 50}


def test_indexes_scans_and_buffers_are_found_at_any_depth() -> None:
    index = {"Node Type": "Index Scan", "Index Name": "orders_pkey", "Actual Rows": 1, "Actual Loops": 15}
    join = {"Node Type": "Nested Loop", "Actual Rows": 15, "Actual Loops": 1, "Plans": [seq_scan(15, 5), index]}
    top = {
        "Node Type": "Limit",
        "Actual Rows": 15.0,
        "Actual Loops": 1,
        "Shared Hit Blocks": 7,
        "Shared Read Blocks": 2,
        "Plans": [join],
    }
    assert read_plan(top) == {
        "rows_returned": 15,
        "buffers": {"hit": 7, "read": 2},
        "indexes_used": ["orders_pkey"],
        "sequential_scans": [{"table": "public.orders", "rows": 20, "loops": 1}],
    }


@pytest.mark.parametrize(
    ("scan", "rows", "right"),
    [
        (seq_scan(40, 9960), 10000, True),  # a small table, read once
        (seq_scan(40, 9961), 10001, False),  # a table over the limit
        (seq_scan(15), 15, True),  # any table, stopped early
        (seq_scan(10, 90, loops=200), 20000, False),  # a small table, read two hundred times
        (seq_scan(5000, 1000, loops=3, kind="Parallel Seq Scan"), 18000, False),  # three workers' shares
    ],
)
def test_a_sequential_scan_is_judged_by_the_rows_it_read(scan: dict[str, Any], rows: int, right: bool) -> None:
    result = measured(scan)
    verdict = judge(result, 10000)
    assert result["sequential_scans"][0]["rows"] == rows
    assert verdict["index_use_ok"] is right
    assert verdict["status"] == ("passed" if right else "warning")
    assert (f"a sequential scan read {rows} rows of public.orders" in verdict["why"]) is not right


def test_a_median_at_the_threshold_is_over_it() -> None:
    verdict = judge(measured(median=50.0), 10000)
    assert verdict["within_threshold"] is False
    assert verdict["why"] == "median 50.0 ms, must be less than 50 ms"
    assert judge(measured(median=49.9), 10000)["status"] == "passed"
