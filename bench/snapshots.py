"""Compare a snapshot with fingerprints with a scan that reads the same columns without hashing."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pglast
from ansible.module_utils.runbook.database.connection import identifier
from ansible.module_utils.runbook.plan.loader import load_plan
from psycopg2 import sql
from support.modules import run_module
from support.servers import Options, connect

from .contenders import PLAN_DIRECTORY, Outcome


def snapshot(options: Options, limit_seconds: float) -> Outcome:
    """Take the plan's snapshot with the module; then read the same rows without hashing."""
    wanted = load_plan(str(PLAN_DIRECTORY))["snapshot"]
    scanned, rows = scan(options, wanted["fingerprints"])  # first: it warms the cache for both
    scanned, rows = scan(options, wanted["fingerprints"])
    with tempfile.TemporaryDirectory(prefix="bench-snapshot-") as directory:
        started = time.monotonic()
        result = run_module(
            "pg_snapshot",
            connection=options,
            directory=str(Path(directory) / "snapshot"),
            statement_timeout_seconds=round(limit_seconds),
            **{name: wanted[name] for name in ("counts", "samples", "fingerprints")},
        )
        seconds = time.monotonic() - started
        size = sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())
    details = {"rows": rows, "bytes": size, "seconds_per_million_rows": seconds / max(rows, 1) * 1e6}
    return Outcome(seconds, {"snapshot": seconds, "scan": scanned}, details, result["msg"] if result["failed"] else "")


def scan(options: Options, fingerprints: list[dict[str, str]]) -> tuple[float, int]:
    """Count the values of every column of every fingerprinted row, without hashing them."""
    started, rows = time.monotonic(), 0
    with connect(options, options="-c statement_timeout=0") as connection, connection.cursor() as cursor:
        for wanted in fingerprints:
            if wanted.get("table"):
                source = sql.SQL("(SELECT * FROM {})").format(identifier(wanted["table"]))
            else:
                text = Path(wanted["query"]).read_text(encoding="utf-8")
                source = sql.SQL("({}\n)").format(sql.SQL(pglast.split(text)[0]))
            cursor.execute(sql.SQL("SELECT * FROM {} AS r LIMIT 0").format(source))
            columns = [sql.Identifier("r", column.name) for column in cursor.description or ()]
            counted = sql.SQL(", ").join(sql.SQL("count({})").format(column) for column in columns)
            cursor.execute(sql.SQL("SELECT count(*), {} FROM {} AS r").format(counted, source))
            row = cursor.fetchone()
            rows += row[0] if row else 0
    return time.monotonic() - started, rows
