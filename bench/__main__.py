"""Run the bench (`make bench` calls it): python -m bench --sizes 100000 300000 --runs 3. See bench/README.md."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from support.servers import Server, value

from . import BENCH, backups, document, machine
from .commands import ROUNDS, commands
from .contenders import CONTENDERS, Contender, NotBuiltError, Outcome
from .latency import latency
from .peer_probes import probes
from .peers import PEERS, run_peer
from .runs import Medians, Results
from .server import MEMORY, copy_of, running_server, settings_of, settle, template, wal_position
from .snapshots import snapshot
from .state import end_state
from .targets import SMALL_DATABASE, judge
from .turn import Turn
from .whole_run import whole_run

#: Contenders that run the whole migration; their end states are compared. With little memory only these run.
MIGRATIONS = dict(CONTENDERS)
OTHERS: dict[str, Contender] = {"whole": whole_run, "snapshot": snapshot, "latency": latency}
#: Peers and the load run at the largest size up to this one; other sizes would answer the same question.
MIDDLE_SIZE = 300_000
#: Measurements for the small database only.
SMALL: dict[str, Contender] = {"commands": commands}
NAMES = [*MIGRATIONS, *OTHERS, *SMALL, "backup", "peers"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 300_000, 1_000_000], help="audio posts")
    parser.add_argument("--runs", type=int, default=3, help="of each measurement; the table shows medians")
    parser.add_argument("--memory", nargs="+", choices=MEMORY, default=["default"])
    parser.add_argument("--postgres", type=int, default=17, help="major version of the server")
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--limit-seconds", type=float, default=1800, help="stop and report a measurement that takes longer"
    )
    parser.add_argument("--lock", nargs="*", default=[], help="files to lock during a measurement")
    parser.add_argument("--add", action="store_true", help="keep the runs of the last results that are not repeated")
    parser.add_argument("--output", type=Path, default=BENCH / "results", help="directory of the results")
    parser.add_argument("--document", type=Path, default=BENCH.parent / "docs", help="directory of benchmarks.md")
    return parser.parse_args()


class Bench:
    """One call of `make bench`."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        given.output.mkdir(parents=True, exist_ok=True)
        name = f"run-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}.json"
        settings = {
            "postgres": given.postgres,
            "runs": given.runs,
            "sizes": given.sizes,
            "server": {memory: settings_of(memory, given.postgres) for memory in given.memory},
        }
        self.results = Results(given.output / name, machine.describe(), settings)
        self.latest = given.output / "latest.json"
        self.turn = Turn(given.lock)
        if given.add:
            self.results.take_over(self.latest, self._planned())

    def run(self) -> bool:
        """Measure everything, write results and document, and return whether everything completed."""
        for memory in self.given.memory:
            with running_server(self.given.postgres, memory) as server:
                self.results.machine["postgres"] = str(server.facts["version"])
                sizes = [SMALL_DATABASE] if self._small() and memory == "default" else []
                for size in dict.fromkeys([*sizes, *self.given.sizes]):
                    self._size(server, size, memory)
        self.turn.end()
        targets = judge(Medians(self.results.runs))
        self.results.write(self.latest, targets=targets)
        document.write(self.latest, self.given.document)
        for target in targets:
            word = {True: "met", False: "NOT MET", None: "-"}[target["met"]]
            print(f"{word:8} {target['id']:3} {target['title']}: {target['ratio']} (limit {target['limit']})")
            print(f"             {target['detail']}")
        failed = [run for run in self.results.runs if run["failure"]]
        for run in failed:
            print(f"FAILED   {run['measurement']} at {run['audio_posts']}: {run['failure']}")
        return not failed

    def _size(self, server: Server, size: int, memory: str) -> None:
        with template(server, size, self.turn) as name:
            self._measure(server, size, memory, name)

    def _measure(self, server: Server, size: int, memory: str, name: str) -> None:
        contenders = self._contenders(size, memory)
        # Commands are short, so their ratios use medians of five.
        for run in range(1, max(self.given.runs, ROUNDS if "commands" in contenders else 0) + 1):
            for measurement, contender in contenders.items():
                if run > self.given.runs and measurement != "commands":
                    continue
                self._one(server, name, contender, (measurement, size, memory, run))
            if "backup" in self._names(size, memory) and run <= self.given.runs:
                for compression, outcome in backups.measure(server, name, self.turn):
                    self._note((f"backup {compression}", size, memory, run), outcome)
        if "peers" in self._names(size, memory):
            for peer in PEERS:
                self._one(server, name, probes(peer), (f"probe {peer}", size, memory, 1))
            self._one(server, name, probes(""), ("probe online", size, memory, 1))

    def _one(self, server: Server, name: str, contender: Contender, what: tuple[str, int, str, int]) -> None:
        with self.turn, copy_of(server, name) as options:
            settle(options)
            before = wal_position(options)
            try:
                outcome = contender(options, self.given.limit_seconds)
            except NotBuiltError as reason:
                self._note(what, str(reason))
                return
            more = {"wal_bytes": wal_position(options) - before}
            if what[0] in MIGRATIONS and not outcome.failure:
                outcome.details["end_state"] = end_state(options)
                outcome.details["database_bytes"] = int(value(options, "SELECT pg_database_size(current_database())"))
            self._note(what, outcome, **more)

    def _note(self, what: tuple[str, int, str, int], outcome: Outcome | str, **more: int) -> None:
        measurement, size, memory, number = what
        run = self.results.add(measurement, size, memory, outcome, run=number, **more)
        said = run["skipped"] or run["failure"] or f"{run['seconds']:.2f} s"
        print(f"{size:>9,} audio posts, {memory} memory, run {number}: {measurement}: {said}", flush=True)

    def _names(self, size: int, memory: str) -> list[str]:
        """Return which of the requested measurements run at a size."""
        small = self._small() if size == SMALL_DATABASE and memory == "default" else []
        if size not in self.given.sizes:
            return small
        wanted = [
            name
            for name in NAMES
            if name not in SMALL and self._wanted(name) and (memory == "default" or name in MIGRATIONS)
        ]
        middle = max((one for one in self.given.sizes if one <= MIDDLE_SIZE), default=min(self.given.sizes))
        wanted = [name for name in wanted if size == middle or name not in ("latency", "peers")]
        return list(dict.fromkeys([*wanted, *small]))

    def _small(self) -> list[str]:
        """Return which of the requested measurements run with the small database, for any sizes."""
        return [name for name in ("whole", *SMALL) if self._wanted(name)]

    def _contenders(self, size: int, memory: str) -> dict[str, Contender]:
        names = self._names(size, memory)
        found = {name: contender for name, contender in {**MIGRATIONS, **OTHERS, **SMALL}.items() if name in names}
        return found | ({f"peer {peer}": run_peer(peer) for peer in PEERS} if "peers" in names else {})

    def _wanted(self, name: str) -> bool:
        return name in self.given.contenders

    def _planned(self) -> Iterator[tuple[str, int, str]]:
        for memory in self.given.memory:
            for size in [SMALL_DATABASE, *self.given.sizes]:
                names = [*self._contenders(size, memory)]
                if "backup" in self._names(size, memory):
                    names += [f"backup {name}" for name in backups.compressions(self.given.postgres)]
                if "peers" in self._names(size, memory):
                    names += [f"probe {name}" for name in [*PEERS, "online"]]
                yield from ((name, size, memory) for name in names)


def main() -> int:
    # SIGTERM ends it like Ctrl-C: the server is stopped and removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return 0 if Bench(arguments()).run() else 1


if __name__ == "__main__":
    sys.exit(main())
