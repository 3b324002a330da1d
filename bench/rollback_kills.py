"""Kill a rollback or a restore drill with kill -9 at random moments, and repeat the command until it completes.

Usage: python -m bench.rollback_kills [--audio-posts 5000] [--kills 10] [--seed 1]
       [--methods reverse restore drill swap]
Changes: a temporary server below /tmp; the output file.
Kills in turn ansible-playbook, the module that works for it, and the server. After the command has completed, rows,
catalog, journal and databases must equal those after an undisturbed command: no side table, helper schema or
scratch database is left, the change log has ended, the run is closed, the application is started.
Exit status 1 if a command does not complete, or its result differs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from psycopg2 import sql
from support.servers import OWNER, connect, query, value

from bench.kill_compare import differences, state_of
from bench.kill_targets import Restartable, kill_module, kill_play, kill_server
from bench.soak_stage import REPOSITORY, SUPERUSER, Operator, running_demo

COMMANDS = {
    "reverse": ("rollback.yml", "-e", "method=reverse", "-e", "rollback_application_stopped=true"),
    "restore": ("rollback.yml", "-e", "method=restore"),
    "drill": ("playbooks/drill_backup.yml",),
    "swap": ("rollback.yml", "-e", "method=restore", "-e", "restore_mode=swap"),
}
LIVE, MIGRATED = "live", "migrated"
AGAIN_SECONDS = 1.0
LIMIT_SECONDS = 600
#: The module of a killed play keeps running for a while.
AT_WORK = ("another run is active", "another restore by swap of live is running")
#: The kill happened before the report, after everything else.
ENDED = "is rolled back. Nothing was changed."
NOTE = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + chr(10))"


class Stage:
    """A migrated database with writes of both applications, which can be recreated under the same name.

    :param swappable: back up the whole database, and migrate with a role that may swap it.
    """

    def __init__(self, server: Restartable, directory: Path, *, swappable: bool = False) -> None:
        directory.mkdir(exist_ok=True)
        self.server = server
        self.hooks = directory / "hooks"
        self._kept = directory / "kept"
        self.options = server.server.options_for(LIVE)
        self._copy(str(server.server.options["dbname"]), LIVE)
        if swappable:
            self._as_superuser("swappable.sql")
            self.options |= {"user": "swap_owner"}
        hook = ["{{ ansible_playbook_python }}", "-c", NOTE, str(self.hooks)]
        self.operator = Operator(
            directory,
            self.options,
            application_control_stop={"command": [*hook, "stop"]},
            application_control_start={"command": [*hook, "start"]},
            database_backup_scope="database" if swappable else "tables",
        )
        done = self.operator.type("migrate.yml")
        if done.status:
            raise RuntimeError(done.screen[-4000:])
        self._as_superuser("writes_of_both.sql")
        self._copy(LIVE, MIGRATED)
        shutil.copytree(self.operator.artifacts, self._kept)

    def begin_anew(self) -> None:
        self._copy(MIGRATED, LIVE)
        shutil.rmtree(self.operator.artifacts)
        shutil.copytree(self._kept, self.operator.artifacts)
        self.hooks.unlink(missing_ok=True)

    def _as_superuser(self, file: str) -> None:
        with connect({**self.options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
            cursor.execute((REPOSITORY / "molecule" / "sql" / file).read_text(encoding="utf-8"))

    def _copy(self, source: str, name: str) -> None:
        with connect(self.server.server.superuser_options) as connection, connection.cursor() as cursor:
            # Including the databases that a swap has left.
            cursor.execute("SELECT datname FROM pg_database WHERE datname ~ %s", (f"^{name}(_(new|old)_.*)?$",))
            for (found,) in cursor.fetchall():
                cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(found)))
            cursor.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*map(sql.Identifier, (name, source, OWNER)))
            )
            # A copied sequence is logged as it stands, not some values ahead: after a crash before the next checkpoint
            # it would give numbers away twice.
            cursor.execute("CHECKPOINT")

    def state(self) -> dict[str, Any]:
        """Return rows, catalog, and other things that must not be left."""
        run = query(self.options, "SELECT state, count(*) FROM migration_runbook.run GROUP BY state")
        return {
            **state_of(self.options),
            "run": run,
            "change log": value(self.options, "SELECT to_regclass('migration_runbook.change') IS NOT NULL"),
            "databases": self._databases(),
            "application": self.hooks.read_text().split()[-1] if self.hooks.exists() else "untouched",
        }

    def _databases(self) -> list[tuple[Any, ...]]:
        """Return all databases, after the drill of a killed play has completed."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            found = query(self.options, "SELECT datname FROM pg_database ORDER BY 1")
            busy = query(self.options, "SELECT 1 FROM pg_stat_activity WHERE datname ~ '^runbook_drill_'")
            if not busy or time.monotonic() > deadline:
                return found
            time.sleep(AGAIN_SECONDS)


def until_it_ends(stage: Stage, command: tuple[str, ...]) -> None:
    """Run the command until it succeeds; while the killed play's module still runs, wait and retry."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        done = stage.operator.type(*command)
        if done.status == 0 or ENDED in done.text:
            return
        if not any(words in done.text for words in AT_WORK) or time.monotonic() > deadline:
            raise RuntimeError(f"the command failed:\n{done.screen[-9000:]}")
        time.sleep(AGAIN_SECONDS)


def disturb(stage: Stage, method: str, given: argparse.Namespace) -> dict[str, Any]:
    """Kill a method repeatedly, and compare each result with the undisturbed one."""
    command = COMMANDS[method]
    stage.begin_anew()
    begun = time.monotonic()
    until_it_ends(stage, command)
    seconds = time.monotonic() - begun
    expected = stage.state()
    say(f"{method}: undisturbed {seconds:.1f} s")
    chance = random.Random(given.seed)  # noqa: S311 - a reproducible choice of moments, not a secret
    kinds = [kill_play, kill_module, kill_server]
    kills: list[dict[str, Any]] = []
    different: list[str] = []
    while len(kills) < given.kills:
        stage.begin_anew()
        # One to three kills before the command may complete.
        for _ in range(chance.randint(1, 3)):
            running = stage.operator.start(*command)
            moment = chance.uniform(0.5, seconds)
            deadline = time.monotonic() + moment
            while time.monotonic() < deadline and running.poll() is None:
                time.sleep(0.02)
            if running.poll() is not None:
                break
            kind = kinds[len(kills) % len(kinds)]
            kind(running, stage.server)
            done = stage.operator.finish(running, timeout_seconds=LIMIT_SECONDS)
            if done.status == 0:
                break  # it completed before the kill
            at = [line for line in done.screen.splitlines() if line.startswith("TASK [")][-1:]
            kills.append(
                {"killed": kind.__name__[5:], "after_seconds": round(moment, 2), "at": "".join(at).strip("* ")}
            )
            say(f"  {len(kills)}: {kills[-1]['killed']} after {moment:.1f} s, at {kills[-1]['at']}")
        until_it_ends(stage, command)
        different += differences(expected, stage.state())
    return {"undisturbed_seconds": round(seconds, 1), "kills": kills, "different": different}


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio-posts", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--methods", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", type=int, default=17)
    parser.add_argument("--output", type=Path, default=Path("bench/results/rollback_kills.json"))
    given = parser.parse_args()
    with running_demo(given.postgres, given.audio_posts) as (server, directory):
        restartable, results = Restartable(server), {}
        plain = [method for method in given.methods if method != "swap"]
        for swappable, methods in ((False, plain), (True, [method for method in given.methods if method == "swap"])):
            if methods:
                stage = Stage(restartable, directory / ("swap" if swappable else "plain"), swappable=swappable)
                results |= {method: disturb(stage, method, given) for method in methods}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
    for method, result in results.items():
        counted = dict(Counter(one["killed"] for one in result["kills"]))
        say(f"{method}: killed {counted}; different from undisturbed: {result['different'] or 'nothing'}")
    return 1 if any(result["different"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
