"""What was measured: latencies by kind, failed statements by class, a line per second."""

from __future__ import annotations

import bisect
import datetime
import heapq
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg2

#: Failed statements are listed up to here; all are counted.
LISTED_ERRORS = 500
LISTED_WAITS = 40

#: What may happen to an application during the migration, and is counted apart. Everything else is a failure.
EXPECTED = {
    "trap_25": "a prepared SELECT * met a new column: refused once, right after it was prepared again",
    "repost_by_id_found_nothing": "trap 29: the old application named an entry by the id of a repost",
    "addition_met_entry": "trap 28: the old application added a repost whose track is in the playlist",
    "gone_meanwhile": "the row was deleted by another request of the load before",
}


def milliseconds(values: Sequence[float]) -> dict[str, Any]:
    """Return number, median, 99th percentile and maximum of durations in seconds."""
    if not values:
        return {"statements": 0, "p50": None, "p99": None, "max": None}
    ordered = sorted(values)
    last = len(ordered) - 1
    chosen = {"p50": ordered[last // 2], "p99": ordered[round(last * 0.99)], "max": ordered[last]}
    return {"statements": len(ordered), **{name: round(value * 1000, 2) for name, value in chosen.items()}}


class Record:
    """Collects what the workers report. Times are seconds since the start of the load."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begun = time.monotonic()
        self.begun_at = datetime.datetime.now(datetime.UTC)
        self._latency: dict[tuple[str, bool], list[tuple[float, float, float]]] = {}
        self._longest: list[tuple[float, float, str, str]] = []
        self.errors: Counter[str] = Counter()
        self.expected: Counter[str] = Counter()
        self.listed: list[dict[str, Any]] = []
        self.blocked: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []

    def now(self) -> float:
        return time.monotonic() - self.begun

    def done(self, kind: str, writes: bool, scheduled: float, started: float, ended: float) -> None:
        """A statement ended, well or not. Latency counts from when it was due, so that waiting shows."""
        with self._lock:
            self._latency.setdefault((kind, writes), []).append((scheduled, ended - scheduled, ended - started))
            entry = (ended - scheduled, scheduled, kind, f"{ended - started:.4f}")
            if len(self._longest) < LISTED_WAITS:
                heapq.heappush(self._longest, entry)
            else:
                heapq.heappushpop(self._longest, entry)

    def meets(self, name: str) -> None:
        """Something of EXPECTED happened."""
        with self._lock:
            self.expected[name] += 1

    def fails(self, kind: str, at: float, error: psycopg2.Error | str, values: Any, user: str | None) -> None:
        """A statement failed as no application may see it fail."""
        state = getattr(error, "pgcode", None) or (
            "no connection" if isinstance(error, psycopg2.Error) else "wrong result"
        )
        diagnostics = getattr(error, "diag", None)
        message = getattr(diagnostics, "message_primary", None) or str(error).strip()
        with self._lock:
            self.errors[f"{state} {kind}"] += 1
            if len(self.listed) < LISTED_ERRORS:
                self.listed.append(
                    {
                        "second": round(at, 3),
                        "kind": kind,
                        "sqlstate": state,
                        "message": message,
                        "detail": getattr(diagnostics, "message_detail", None),
                        "context": getattr(diagnostics, "context", None),
                        "user": user,
                        "values": dict(values),
                    }
                )

    def _timeline(self, seconds: float) -> list[dict[str, Any]]:
        lines: list[list[float]] = [[] for _ in range(int(seconds) + 1)]
        for samples in self._latency.values():
            for scheduled, latency, _ in samples:
                if 0 <= int(scheduled) < len(lines):
                    lines[int(scheduled)].append(latency)
        failures = Counter(int(entry["second"]) for entry in self.listed)
        applied = [entry["second"] for entry in self.versions]
        return [
            {
                "second": number,
                **milliseconds(line),
                "failed": failures[number],
                "versions": bisect.bisect_right(applied, number),
            }
            for number, line in enumerate(lines)
        ]

    def summary(self, seconds: float) -> dict[str, Any]:
        """Everything measured, as it is written to the output."""
        every = [(writes, samples) for (_, writes), samples in self._latency.items()]
        both = {
            name: [sample for writes, samples in every if writes == wanted for sample in samples]
            for name, wanted in (("reads", False), ("writes", True))
        }
        statements = sum(len(samples) for samples in both.values())
        return {
            "begun_at": self.begun_at.isoformat(),
            "seconds": round(seconds, 3),
            "statements": statements,
            "rate_reached": round(statements / max(seconds, 0.001), 1),
            "milliseconds": {
                **{name: milliseconds([s[1] for s in samples]) for name, samples in both.items()},
                "all": milliseconds([s[1] for samples in both.values() for s in samples]),
            },
            "service_milliseconds": {name: milliseconds([s[2] for s in samples]) for name, samples in both.items()},
            "kinds": {
                kind: milliseconds([s[1] for s in samples]) for (kind, _), samples in sorted(self._latency.items())
            },
            "failed": sum(self.errors.values()),
            "errors": dict(sorted(self.errors.items())),
            "error_list": self.listed,
            "expected": {name: self.expected[name] for name in EXPECTED},
            "versions": self.versions,
            "longest": [
                {
                    "milliseconds": round(wait * 1000, 1),
                    "second": round(at, 3),
                    "kind": kind,
                    "service_seconds": float(own),
                }
                for wait, at, kind, own in sorted(self._longest, reverse=True)
            ],
            "blocked": self.blocked,
            "timeline": self._timeline(seconds),
        }
