"""Kill a run with kill -9 at random moments and resume it: the result must equal that of an undisturbed run.

Usage: python -m bench.kills [--audio-posts 300000] [--kills 20] [--load] [--seed 1] [--output bench/results/kills.json]
Changes: a temporary server below /tmp; the output file.
Killed in turn: ansible-playbook, the module that works for it, and (without --load) the server.
Without --load every row, constraint, index and trigger is compared with an undisturbed run on a copy of the same
database; with it the application writes all the while, and the invariants of bench/invariants.py must hold.
Exit status 1 if a resumed run does not complete, or its result differs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.servers import query

from bench import invariants
from bench.kill_compare import differences, state_of
from bench.kill_targets import Restartable, kill_module, kill_play, kill_server
from bench.soak_stage import SUPERUSER, Beside, Operator, running_demo

#: Seconds between two attempts to resume while the killed play's module still runs.
AGAIN_SECONDS = 1.0
RUN_LIMIT_SECONDS = 1800
AT_WORK = "another run is active"


class Disturbed:
    """A database whose run is killed repeatedly."""

    def __init__(self, server: Restartable, directory: Path, template: str) -> None:
        self._server = server
        self._directory = directory
        self._template = template
        self._copies = 0
        self.options: dict[str, Any] = {}
        self.operator: Operator
        self.begin_anew()

    def begin_anew(self) -> None:
        """Create a new copy, after the previous run has completed."""
        if self.options:
            self._server.server.drop_database(self.options)
        self._copies += 1
        directory = self._directory / f"disturbed-{self._copies}"
        directory.mkdir()
        self.options = self._server.server.create_database(self._template)
        self.operator = Operator(directory, self.options)

    def newest(self) -> str:
        """Return the newest step in the journal, during which the kill happened."""
        if not query(self.options, "SELECT to_regclass('migration_runbook.step')")[0][0]:
            return "before the first migration"
        rows = query(
            self.options,
            "SELECT version || ' step ' || step_number || ' ' || name || ' ' || state FROM migration_runbook.step"
            " WHERE superseded_at IS NULL ORDER BY coalesce(finished_at, started_at) DESC, id DESC LIMIT 1",
        )
        return str(rows[0][0]) if rows else "before the first migration"

    def end(self) -> None:
        """Run the command until it succeeds; while the killed play's module still runs, wait and retry."""
        deadline = time.monotonic() + RUN_LIMIT_SECONDS
        while True:
            done = self.operator.type("migrate.yml")
            if done.status == 0:
                return
            if AT_WORK not in done.text or time.monotonic() > deadline:
                raise RuntimeError(f"the resumed run failed:\n{done.screen[-4000:]}")
            time.sleep(AGAIN_SECONDS)


def kill_again_and_again(
    disturbed: Disturbed, server: Restartable, given: argparse.Namespace, seconds: float
) -> list[dict[str, Any]]:
    """Start, kill at a random moment and start again; return what was killed, when and where."""
    chance = random.Random(given.seed)  # noqa: S311 - a reproducible choice of moments, not a secret
    kinds = [kill_play, kill_module] + ([] if given.load else [kill_server])
    killed: list[dict[str, Any]] = []
    while len(killed) < given.kills:
        running = disturbed.operator.start("migrate.yml")
        moment = chance.uniform(1.0, given.within or seconds)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.02)
        if running.poll() is not None:
            done = disturbed.operator.finish(running)
            if done.status == 0 and given.load:
                return killed  # the load uses this database, so it cannot be recreated
            if done.status == 0:
                disturbed.begin_anew()
            elif AT_WORK in done.text:
                time.sleep(AGAIN_SECONDS)
            else:
                raise RuntimeError(f"a resumed run failed by itself:\n{done.screen[-4000:]}")
            continue
        kind = kinds[len(killed) % len(kinds)]
        kind(running, server)
        disturbed.operator.finish(running, timeout_seconds=RUN_LIMIT_SECONDS)
        killed.append({"killed": kind.__name__[5:], "after_seconds": round(moment, 2), "at": disturbed.newest()})
        say(f"{len(killed)}: {killed[-1]['killed']} after {moment:.1f} s, at {killed[-1]['at']}")
    disturbed.end()
    return killed


def say(text: str) -> None:
    print(text, flush=True)


def run(given: argparse.Namespace) -> dict[str, Any]:
    with running_demo(given.postgres, given.audio_posts) as (started, directory):
        server = Restartable(started)
        template = str(started.options["dbname"])
        undisturbed = Disturbed(server, directory, template)
        begun = time.monotonic()
        undisturbed.end()
        seconds = time.monotonic() - begun
        say(f"undisturbed: {seconds:.1f} s")
        expected = {} if given.load else state_of(undisturbed.options)
        (directory / "again").mkdir()
        disturbed = Disturbed(server, directory / "again", template)
        load: Beside | None = None
        kept = directory / "kept"
        superuser = {**disturbed.options, "user": SUPERUSER}
        if given.load:
            invariants.before(superuser, kept)
            load = Beside("bench.traffic", started, directory, "load", "--dbname", disturbed.options["dbname"],
                          "--rate", str(given.rate), "--seconds", str(RUN_LIMIT_SECONDS))  # fmt: skip
        try:
            killed = kill_again_and_again(disturbed, server, given, seconds)
        finally:
            traffic = load.finish() if load else None
        result: dict[str, Any] = {"undisturbed_seconds": round(seconds, 1), "kills": killed, "traffic": traffic}
        result["audio_posts"] = given.audio_posts
        if traffic:
            result["invariants"] = invariants.after(superuser, kept, [traffic["ledger"]])
            result["different"] = [one for one in result["invariants"] if one["wrong"]]
        else:
            result["different"] = differences(expected, state_of(disturbed.options))
        return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio-posts", type=int, default=300000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--load", action="store_true")
    parser.add_argument(
        "--within",
        type=float,
        default=0,
        help="seconds from a start to its kill, at most; 0: as an undisturbed run takes",
    )
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", type=int, default=17)
    parser.add_argument("--output", type=Path, default=Path("bench/results/kills.json"))
    given = parser.parse_args()
    result = run(given)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=2, default=str) + "\n", encoding="utf-8")
    counted = Counter(one["killed"] for one in result["kills"])
    say(f"killed {dict(counted)}; different from an undisturbed run: {result['different'] or 'nothing'}")
    return 1 if result["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
