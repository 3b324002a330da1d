"""Hold a lock on the plan's busiest table for a minute, once at each step that needs a lock on it.

Usage: python -m bench.lock_holds [--seconds 60] [--audio-posts 400] [--output bench/results/lock_holds.json]
Changes: a temporary server below /tmp; the output file.
Each step gets two databases: with the role's defaults, and with twice as many attempts. Table: how the step ended,
after how many attempts and seconds, and whether the message names the blocking session.
Exit status 1 if a step neither waited until the lock was released nor failed with the blocker's name.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
from ansible.module_utils.runbook.database.connection import libpq_parameters
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal.migration_state import file_steps
from ansible.module_utils.runbook.migration import migrate as migrations
from ansible.module_utils.runbook.plan.loader import load_plan
from support.playbooks import PLAN_DIRECTORY

from bench.soak_stage import Server, running_demo

HOLDER = "the long request"
TABLE = "public.posts"
SETTINGS = {"migrated_tracks_are_public": True}
report_long_lived = migrations.report_long_lived


def call(options: dict[str, Any], version: str, limits: dict[str, Any]) -> dict[str, Any]:
    plan = load_plan(str(PLAN_DIRECTORY))
    usual = {"connection": options, "plan": plan, "plan_settings": SETTINGS, "state": "applied", "run": None}
    usual |= {"volume_class": "", "snapshot_counts": {}, "limits": limits, "version": version}
    return migrations.migrate(usual, check_mode=False)


class Holder:
    """Takes the lock just before a step, and holds it for the given seconds."""

    def __init__(self, options: dict[str, Any], step: int, mode: str, seconds: float) -> None:
        self.options, self.step, self.mode, self.seconds = options, step, mode, seconds
        self.held = threading.Event()

    def hold(self) -> None:
        with psycopg2.connect(**libpq_parameters(self.options), application_name=HOLDER) as connection:
            connection.cursor().execute(f"LOCK TABLE {TABLE} IN {self.mode} MODE")
            self.held.set()
            time.sleep(self.seconds)
        connection.close()


HOLDERS: dict[str, Holder] = {}
COPYING = threading.Lock()


def before_each_step(context: Any, step: Any) -> None:
    """Replaces what the runner does before a step: takes the lock first."""
    holder = HOLDERS.get(context.connection.info.dbname)
    if holder and holder.step == step.number and not holder.held.is_set():
        threading.Thread(target=holder.hold, daemon=True).start()
        holder.held.wait(10)
    report_long_lived(context, step)


def wanting_steps() -> list[tuple[str, Any, str]]:
    """Return every step that must wait for a session that has written to the table, with the lock to hold."""
    found = []
    for entry in load_plan(str(PLAN_DIRECTORY))["migrations"]:
        for step in file_steps(entry, "applied"):
            locks = any(lock.table == TABLE for lock in step.locks)
            builds = (
                step.kind == "concurrently"
                and "INDEX" in step.statements[0]
                and f" {TABLE} " in f" {step.statements[0]} "
            )
            if locks or builds or step.kind == "backfill":
                # A batch waits for rows; only ACCESS EXCLUSIVE makes it wait for the table.
                found.append(
                    (entry["version"], step, "ACCESS EXCLUSIVE" if step.kind == "backfill" else "ROW EXCLUSIVE")
                )
    return found


def one(
    server: Server, template: str, version: str, step: Any, mode: str, limits: dict[str, Any], seconds: float
) -> dict[str, Any]:
    options = server.create_database(template)
    for entry in load_plan(str(PLAN_DIRECTORY))["migrations"]:
        if entry["version"] == version:
            break
        call(options, entry["version"], {})
    HOLDERS[options["dbname"]] = Holder(options, step.number, mode, seconds)
    row = {"version": version, "step": step.number, "name": step.name, "kind": step.kind, "limits": limits}
    begun = time.monotonic()
    try:
        steps = call(options, version, limits)["steps"]
        taken = next(found for found in steps if found["number"] == step.number)
        row |= {"ended": "done", "attempts": taken["attempts"], "seconds": taken["seconds"]}
        row["right"] = taken["seconds"] >= seconds - 2
    except RunbookError as error:
        row |= {"ended": f"failed, {error.left_as}", "attempts": None, "seconds": round(time.monotonic() - begun, 1)}
        row |= {"message": error.msg, "right": HOLDER in error.msg}
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--audio-posts", type=int, default=400)
    parser.add_argument("--postgres", type=int, default=17)
    parser.add_argument("--output", type=Path, default=Path("bench/results/lock_holds.json"))
    given = parser.parse_args()
    migrations.report_long_lived = before_each_step
    with running_demo(given.postgres, given.audio_posts) as (server, _):
        template = str(server.create_database(str(server.options["dbname"]))["dbname"])
        more = {"lock_attempts": 60, "lock_attempts_limit_seconds": 600}
        with ThreadPoolExecutor(max_workers=14) as pool:
            waiting = [
                pool.submit(one, server, template, *wanted, limits, given.seconds)
                for wanted in wanting_steps()
                for limits in ({}, more)
            ]
            rows = [future.result() for future in waiting]
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        limits = "60 attempts" if row["limits"] else "defaults"
        print(f"{row['version'][-1]}.{row['step']:<2} {row['kind']:12} {limits:11} {row['ended']:18} "
              f"{row['attempts'] or '':>3} {row['seconds']:>6} s  {row['name']}")  # fmt: skip
    return 0 if all(row["right"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
