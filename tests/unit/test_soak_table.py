"""What the soak calls met, and what its table shows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bench.soak_table import MUST_HAPPEN, as_text, criteria
from bench.traffic.record import EXPECTED, milliseconds

FIGURES = {"statements": 1, "p50": 1.0, "p99": 2.0, "max": 3.0}
LOAD: dict[str, Any] = {
    "rate_reached": 209.0,
    "statements": 100,
    "never_started": 0,
    "failed": 0,
    "errors": {},
    "kinds": dict.fromkeys(MUST_HAPPEN, FIGURES),
    "milliseconds": dict.fromkeys(("reads", "writes", "all"), FIGURES),
    "expected": dict.fromkeys(EXPECTED, 0),
    "longest": [{"milliseconds": 512.5, "second": 3.2, "kind": "feed", "steps": ["0.5 column posts.track_id"]}],
}
MEASURED: dict[str, Any] = {
    "run": {"status": 0, "seconds": 30.0},
    "without": LOAD,
    "with": copy.deepcopy(LOAD),
    "slot": {"events": {"updates": 3}},
    "invariants": [{"name": "no_orphan", "wrong": 0, "rows_examined": 7, "examples": []}],
}


def test_a_good_soak_meets_everything() -> None:
    assert [criterion for criterion in criteria(MEASURED, 210) if not criterion["met"]] == []


@pytest.mark.parametrize(
    ("place", "wrong", "named"),
    [
        (("run", "status"), 2, "the run succeeded"),
        (("with", "rate_reached"), 150.0, "at least 200 statements per second"),
        (("with", "never_started"), 4, "every slot of the load was served"),
        (("with", "failed"), 1, "no failed statement with migration"),
        (("without", "failed"), 1, "no failed statement without migration"),
        (("with", "kinds"), {}, "every kind of write ran"),
        (("slot", "events"), {}, "the logical slot was read"),
        (("invariants", 0, "wrong"), 1, "no_orphan"),
        (("invariants", 0, "rows_examined"), 0, "no_orphan"),
    ],
)
def test_what_is_not_met_is_named(place: tuple[Any, ...], wrong: Any, named: str) -> None:
    measured = copy.deepcopy(MEASURED)
    holder = measured
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = wrong
    assert [criterion["name"] for criterion in criteria(measured, 210) if not criterion["met"]] == [named]


def test_the_table_names_waits_and_failures() -> None:
    measured = copy.deepcopy(MEASURED)
    measured["with"]["errors"] = {"23505 playlist_add": 2}
    machine = {"cores": 2, "postgres": "17.10"}
    text = as_text({"machine": machine, "audio_posts": 5, "criteria": criteria(measured, 210), **measured})
    assert "512.5 ms  feed" in text
    assert "0.5 column posts.track_id" in text
    assert "FAILED 23505 playlist_add: 2" in text
    assert all(name in text for name in EXPECTED)


def test_percentiles_are_those_of_the_values() -> None:
    assert milliseconds([value / 1000 for value in range(1, 102)]) == {
        "statements": 101, "p50": 51.0, "p99": 100.0, "max": 101.0,
    }  # fmt: skip
    assert milliseconds([])["p99"] is None
