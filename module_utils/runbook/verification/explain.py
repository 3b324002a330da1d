"""Measure performance queries on a warm cache with real parameters, and judge the rows that their plans read."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2 import sql

from ..database.connection import Connection, Cursor, read_only_snapshot, rows_as_dicts
from ..database.queries import read_query, value
from ..database.values import as_text
from ..errors import from_driver
from ..plain import to_plain

Result = dict[str, Any]
Node = Mapping[str, Any]

QUERY_CANCELED = "57014"

#: VERBOSE adds the schema of each table to the plan; it changes nothing else that is read here.
EXPLAIN = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, VERBOSE, FORMAT JSON) {}")


def blank(entry: Mapping[str, Any]) -> Result:
    """Return the result of a query that has not run, with every key."""
    return {
        "name": entry["name"],
        "query": read_query(entry["query"]),
        "query_file": entry["query"],
        "parameters": {},
        "milliseconds": [],
        "median_milliseconds": None,
        "threshold_milliseconds": entry["threshold_milliseconds"],
        "planning_milliseconds": None,
        "rows_returned": None,
        "buffers": {},
        "indexes_used": [],
        "sequential_scans": [],
        "within_threshold": None,
        "index_use_ok": None,
        "status": "failed",
        "why": "",
        "error": "",
        "sqlstate": "",
    }


def measure(connection: Connection, entry: Mapping[str, Any], executions: int, allowed_rows: int) -> Result:
    """Run one performance query in a read-only transaction and judge it.

    :param executions: timed executions, after one that warms the cache.
    :param allowed_rows: rows that a sequential scan may read.
    """
    result = blank(entry)
    try:
        with read_only_snapshot(connection) as cursor:
            parameters = _parameters(cursor, entry)
            if parameters is None:
                why = "the query for its parameters returned no row, or a NULL"
                return {**result, "status": "nothing_to_examine", "why": why}
            result["parameters"] = to_plain(parameters)
            plans = [_explain(cursor, result["query"], parameters) for _ in range(executions + 1)][1:]
    except psycopg2.Error as error:
        if connection.closed:
            raise
        return {**result, **_failure(error)}
    result["milliseconds"] = [plan["Execution Time"] for plan in plans]
    result["median_milliseconds"] = round(statistics.median(result["milliseconds"]), 3)
    result["planning_milliseconds"] = plans[-1].get("Planning Time")
    result.update(read_plan(plans[-1]["Plan"]))
    return {**result, **judge(result, allowed_rows)}


def read_plan(top: Node) -> dict[str, Any]:
    """Return what a plan used: indexes, sequential scans with the rows they read, shared buffers."""
    nodes = list(_nodes(top))
    return {
        "rows_returned": round(top["Actual Rows"] * top["Actual Loops"]),
        "buffers": {"hit": top.get("Shared Hit Blocks", 0), "read": top.get("Shared Read Blocks", 0)},
        "indexes_used": sorted({node["Index Name"] for node in nodes if "Index Name" in node}),
        "sequential_scans": [_scan(node) for node in nodes if node["Node Type"].endswith("Seq Scan")],
    }


def judge(result: Mapping[str, Any], allowed_rows: int) -> dict[str, Any]:
    """Compare the median with the threshold, and each sequential scan with the rows it read.

    The rows of all loops count: reading a small table once is right, reading it a thousand times is not.
    """
    median, threshold = result["median_milliseconds"], result["threshold_milliseconds"]
    within = median < threshold
    large = [scan for scan in result["sequential_scans"] if scan["rows"] > allowed_rows]
    why = [] if within else [f"median {median} ms, must be less than {threshold} ms"]
    why += [f"a sequential scan read {scan['rows']} rows of {scan['table']} (limit {allowed_rows})" for scan in large]
    return {
        "within_threshold": within,
        "index_use_ok": not large,
        "status": "warning" if why else "passed",
        "why": "; ".join(why),
    }


def to_text(result: Mapping[str, Any]) -> str:
    """Return a line about a result: status, time and threshold, indexes."""
    status, median = result["status"].replace("_", " "), result["median_milliseconds"]
    if median is None:
        return f"{status}: {result['name']}: {result['why']}"
    used = ", ".join(result["indexes_used"]) or "no index"
    scanned = "; ".join(f"read {scan['rows']} rows of {scan['table']}" for scan in result["sequential_scans"])
    text = f"{status}: {result['name']}: median {median} ms of {result['threshold_milliseconds']:g} ms, used {used}"
    return f"{text}; {scanned}" if scanned else text


def _parameters(cursor: Cursor, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the parameters by name, or None where their query returns no row or a NULL."""
    if not entry.get("parameters"):
        return {}
    with as_text(cursor.connection) as reader:
        reader.execute(read_query(entry["parameters"]))
        rows = rows_as_dicts(reader)
    if not rows or None in rows[0].values():
        return None
    return rows[0]


def _explain(cursor: Cursor, query: str, parameters: dict[str, Any]) -> dict[str, Any]:
    # Without parameters pass None, so that a % in the query needs no escaping.
    document = value(cursor, EXPLAIN.format(sql.SQL(query)), parameters or None)
    plan: dict[str, Any] = (json.loads(document) if isinstance(document, str) else document)[0]
    return plan


def _failure(error: psycopg2.Error) -> dict[str, Any]:
    """Return the outcome of a query that failed; one that exceeded the statement timeout is slow, not broken."""
    refused = from_driver(error, "the server refused the query")
    outcome = {"error": refused.msg, "sqlstate": refused.sqlstate, "why": refused.msg}
    if refused.sqlstate == QUERY_CANCELED:
        return {**outcome, "status": "warning", "within_threshold": False, "why": "it exceeded the statement timeout"}
    return {**outcome, "status": "failed"}


def _scan(node: Node) -> dict[str, Any]:
    loops = node["Actual Loops"]
    read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return {"table": f"{node.get('Schema', '?')}.{node['Relation Name']}", "rows": round(read * loops), "loops": loops}


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
