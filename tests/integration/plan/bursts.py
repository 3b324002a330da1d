"""The load of bench/ on a database of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.servers import SUPERUSER, Options

from bench import invariants
from bench.traffic.application import Application
from bench.traffic.generator import Load, run

LoadOn = Callable[[Options], Application]


def place(options: Options) -> Options:
    return {name: options[name] for name in ("host", "port", "dbname")}


def superuser(options: Options) -> Options:
    return {**place(options), "user": SUPERUSER}


def burst(options: Options, seconds: float = 3, **more: Any) -> dict[str, Any]:
    return run(
        Load(
            **{
                "server": place(options),
                "superuser": SUPERUSER,
                "rate": 200,
                "seconds": seconds,
                "connections": 4,
                **more,
            }
        )
    )


def broken(options: Options, kept: Path, *loads: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The invariants that do not hold, by name."""
    found = invariants.after(superuser(options), kept, [load["ledger"] for load in loads])
    assert all(result["rows_examined"] > 0 for result in found), invariants.as_text(found)
    return {result["name"]: result for result in found if result["wrong"]}
