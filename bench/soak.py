"""Run the whole migration on a database in use, with a mixed load from before the first to after the last step.

Usage: python -m bench.soak [--audio-posts 100000] [--rate 200] [--seconds 30] [--output bench/results/soak.json]
Changes: a temporary server below /tmp; the output file.
Exit status 1 if a statement of the application failed that must not fail, an invariant is violated, the rate was not
reached, or the run failed. With AUDIO_POSTS from 20000 to 1000000 it takes two minutes or more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from bench import invariants
from bench.soak_stage import REPOSITORY, SUPERUSER, Beside, Operator, Server, phases, running_demo, steps_during
from bench.soak_table import as_text, criteria

#: The load runs this long before the playbook starts and after it ends, so that the new application runs too.
LEAD_SECONDS = 5
TAIL_SECONDS = 15
LIMIT_SECONDS = 3600


def soak(given: argparse.Namespace, server: Server, directory: Path) -> dict[str, Any]:
    """Measure without and with the migration, and return all measurements."""
    options = {"host": server.facts["host"], "port": server.facts["port"], "dbname": "postgres", "user": SUPERUSER}
    kept = directory / "before"
    invariants.before(options, kept)
    shared = ["--rate", str(given.rate), "--connections", str(given.connections)]
    shared += ["--write-share", str(given.write_share)]
    beside: list[Beside] = []

    def start(module: str, name: str, *arguments: str) -> Beside:
        beside.append(Beside(module, server, directory, name, *arguments))
        return beside[-1]

    try:
        slot = start("bench.slot_reader", "slot", "--seconds", str(LIMIT_SECONDS))
        say(f"load without migration, {given.seconds:g} s")
        baseline = start(
            "bench.traffic", "without", *shared, "--seconds", str(given.seconds), "--seed", str(given.seed)
        ).result(given.seconds + 60)
        say("load while ansible-playbook migrate.yml runs")
        load = start("bench.traffic", "with", *shared, "--seconds", str(LIMIT_SECONDS), "--seed", str(given.seed + 1))
        time.sleep(LEAD_SECONDS)
        begun = time.monotonic()
        operator = Operator(directory, server.options)
        run = operator.finish(operator.start("migrate.yml"), timeout_seconds=LIMIT_SECONDS)
        run_seconds = time.monotonic() - begun
        time.sleep(TAIL_SECONDS)
        migration = load.finish()
        changes = slot.finish()
    finally:
        for program in beside:
            program.kill()
    say("invariants")
    checked = invariants.after(options, kept, [baseline.pop("ledger"), migration.pop("ledger")])
    steps = phases(server, migration["begun_at"]) if run.status == 0 else []
    for wait in (*migration["longest"], *baseline["longest"]):
        wait["steps"] = steps_during(steps, wait) if wait in migration["longest"] else []
    return {
        "run": {"status": run.status, "seconds": round(run_seconds, 1), "screen": run.screen if run.status else ""},
        "without": baseline,
        "with": migration,
        "slot": changes,
        "invariants": checked,
        "steps": steps,
    }


def say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--audio-posts", type=int, default=100000)
    parser.add_argument("--rate", type=float, default=210, help="statements per second")
    parser.add_argument("--write-share", type=float, default=0.1, help="how many of the statements write, of 1")
    parser.add_argument("--seconds", type=float, default=30, help="of the load without migration")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", type=int, default=17, help="major version of the server")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "bench" / "results" / "soak.json")
    given = parser.parse_args()
    say(f"PostgreSQL {given.postgres} with {given.audio_posts} audio posts")
    with running_demo(given.postgres, given.audio_posts) as (server, directory):
        measured = soak(given, server, directory)
    result = {
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "postgres": server.facts["version"]},
        "audio_posts": given.audio_posts,
        "rate": given.rate,
        "criteria": criteria(measured, given.rate),
        **measured,
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    print(as_text(result))
    print(f"Everything measured: {given.output}")
    return 0 if all(criterion["met"] for criterion in result["criteria"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
