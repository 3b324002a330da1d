"""Contenders that run the whole migration: the guide's SQL, the fastest offline form, and ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from ansible.module_utils.runbook.plan.loader import load_plan
from support.modules import load_module, run_module
from support.servers import REPOSITORY, Options, connect

from . import BENCH

PLAN_DIRECTORY = REPOSITORY / "sql" / "tracks_posts_separation"
PLAN_SETTINGS = {"migrated_tracks_are_public": True}
WORKERS = 2


class NotBuiltError(Exception):
    """Something that this measurement needs is missing; the message says what."""


@dataclass
class Outcome:
    """The result of one contender on one database.

    :param parts: seconds of each part, by name.
    :param failure: why it did not complete; empty if it did.
    """

    seconds: float
    parts: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


Contender = Callable[[Options, float], Outcome]


def run_files(options: Options, files: list[Path], limit_seconds: float) -> Outcome:
    """Apply SQL files, each in one transaction. A file that takes too long ends the measurement as a failure."""
    outcome = Outcome(0.0)
    # The limit applies to a whole file and is recorded, so no statement timeout of a role.
    with connect(options, options=f"-c statement_timeout={round(limit_seconds * 1000)}") as connection:
        connection.autocommit = False
        for file in files:
            started = time.monotonic()
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(file.read_text(encoding="utf-8"))
            except psycopg2.Error as error:
                outcome.failure = f"{file.name}: {str(error).strip()}"
            outcome.parts[file.stem] = time.monotonic() - started
            outcome.seconds += outcome.parts[file.stem]
            if outcome.failure:
                break
    return outcome


def guide(options: Options, limit_seconds: float) -> Outcome:
    """Apply the guide's four files, each in one transaction."""
    return run_files(options, sorted((BENCH / "guide").glob("*.sql")), limit_seconds)


def limit(options: Options, limit_seconds: float) -> Outcome:
    """Apply the fastest offline form."""
    return run_files(options, sorted((BENCH / "limit").glob("*.sql")), limit_seconds)


def online(options: Options, limit_seconds: float) -> Outcome:
    """Apply our four migrations with the module, with two workers."""
    return _migrations(options, limit_seconds, {})


def offline(options: Options, limit_seconds: float) -> Outcome:
    """Apply them with the offline strategy, for a maintenance window."""
    if "strategy" not in load_module("pg_migration").argument_spec():
        raise NotBuiltError("pg_migration has no option `strategy` yet")
    return _migrations(options, limit_seconds, {"strategy": "offline"})


def _migrations(options: Options, limit_seconds: float, params: dict[str, Any]) -> Outcome:
    plan = load_plan(str(PLAN_DIRECTORY))
    limits: dict[str, Any] = {"statement_timeout_seconds": limit_seconds, "long_step_limit_seconds": limit_seconds}
    if "workers" in load_module("pg_migration").argument_spec()["limits"]["options"]:
        limits["workers"] = WORKERS
    outcome = Outcome(0.0, details={"steps": [], "workers": limits.get("workers", 1)})
    for migration in plan["migrations"]:
        started = time.monotonic()
        result = run_module(
            "pg_migration",
            connection=options,
            plan=plan,
            version=migration["version"],
            plan_settings=PLAN_SETTINGS,
            limits=limits,
            **params,
        )
        seconds = time.monotonic() - started
        outcome.parts[f"{migration['version']}_{migration['name']}"] = seconds
        outcome.seconds += seconds
        outcome.details["steps"] += [
            {"version": migration["version"], "name": step["name"], "kind": step["kind"], "seconds": step["seconds"]}
            for step in result["steps"]
        ]
        for step in result["steps"]:
            # The backfill of posts; the other one moves few rows.
            fills = result["rows_moved"] > outcome.details.get("backfill_rows", 0)
            if step["kind"] == "backfill" and step["seconds"] and fills:
                outcome.details["backfill_rows"] = result["rows_moved"]
                outcome.details["backfill_seconds"] = step["seconds"]
                outcome.details["rows_per_second"] = result["rows_moved"] / step["seconds"]
        if result["failed"]:
            outcome.failure = f"{migration['version']}: {result['msg']}"
            break
    return outcome


CONTENDERS: dict[str, Contender] = {"guide": guide, "limit": limit, "online": online, "offline": offline}
