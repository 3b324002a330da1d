"""Migrate, write with both applications, reverse, compare with a twin, migrate again, with the playbooks of a user.

Usage: python -m bench.drill [--audio-posts 1000] [--operations 300] [--each-version] [--seed 4] [--postgres 17]
Changes: a temporary server below /tmp.
The twin is a copy that is never migrated; each operation runs on both, on the twin in terms of the old schema.
With --each-version it reverses one version at a time and compares at each: schema text and catalog with a database
that was only migrated to that version, rows with the twin as far as that version's schema allows.
The last line lists what was compared. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from support.catalogue import catalogue, schema_text
from support.servers import Options, Server, query

from bench.drill_compare import KEPT, archive, compare, lost_on_the_way_forward, same
from bench.soak_stage import REPOSITORY, Operator, running_demo

sys.path.append(str(REPOSITORY / "tests" / "integration" / "plan"))
from twin import Twins

VERSIONS = ("20250122000000", "20250122000002", "20250122000003", "20250122000004")
#: This program is the application, and it has stopped.
REVERSE = ("rollback.yml", "-e", "method=reverse", "-e", "confirm=drill", "-e", "rollback_application_stopped=true")
REPAIR = ("playbooks/repair.yml", "-e", "issue=playlist_references", "-e", "apply=true", "-e", "confirm=drill")


class Stage:
    """The databases of the server, and an operator for each."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.template = str(server.options["dbname"])
        self.twin = server.create_database(self.template)
        self.options = server.create_database(self.template)
        self.operator = self._operator("drill", self.options)
        self.untouched = self.told(self.options)

    def _operator(self, name: str, options: Options) -> Operator:
        directory = self.directory / name
        directory.mkdir()
        return Operator(directory, options, host="drill")

    def type(self, operator: Operator, *words: str) -> None:
        """Run a playbook that must succeed."""
        begun = time.monotonic()
        done = operator.type(*words)
        if done.status:
            raise RuntimeError(f"ansible-playbook {' '.join(words)} failed:\n{done.screen[-4000:]}")
        say(f"ansible-playbook {' '.join(words)}: {time.monotonic() - begun:.1f} s")

    def told(self, options: Options) -> dict[str, Any]:
        """Return schema text and catalog."""
        text = schema_text(options, self.server.bin_directory)
        return {"schema text": without_log(text), **catalogue(options)}

    def migrated_to(self, version: str) -> dict[str, Any]:
        """Return schema text and catalog of a new copy that is migrated to this version only."""
        options = self.server.create_database(self.template)
        operator = self._operator(version, options)
        self.type(operator, "migrate.yml", "-e", f"stop_after={version}")
        found = self.told(options)
        self.server.drop_database(options)
        return found

    def schema_differs(self, wanted: dict[str, Any], at: str) -> list[str]:
        """Return the differences from a database that was only migrated to this version, or never."""
        found = self.told(self.options)
        if at == "the start":  # a separate schema keeps what the old schema cannot represent
            found["schemas"] = [row for row in found["schemas"] if row[0] != KEPT]
        return [line for name in wanted for line in same(f"{at}: {name}", found[name], wanted[name])]


def without_log(text: str) -> str:
    """Return schema text without the change log's triggers, whose names contain numbers that differ."""
    return "\n".join(line for line in text.splitlines() if "runbook_change_log_" not in line)


def drill(stage: Stage, given: argparse.Namespace) -> tuple[list[str], str]:
    stage.type(stage.operator, "migrate.yml")
    twins = Twins(stage.options, stage.twin, seed=given.seed)
    with twins.sessions():
        twins.perform(given.operations)
    say(f"{given.operations} operations of both applications: {json.dumps(twins.done)}")
    different: list[str] = []
    if given.each_version:
        for left in (3, 2, 1):
            version = VERSIONS[left - 1]
            stage.type(stage.operator, *REVERSE, "-e", f"rollback_to={version}")
            different += stage.schema_differs(stage.migrated_to(version), version)
            archived, _ = archive(stage.options, "tracks_posts_separation")
            found, counted = compare(stage.options, stage.twin, migration_left=left, archived=archived)
            different += [f"{version}: {line}" for line in found]
            say(f"at {version}: schema and rows compared: {json.dumps(counted)}; different: {len(found)}")
    stage.type(stage.operator, *REVERSE)
    different += stage.schema_differs(stage.untouched, "the start")
    archived, reasons = archive(stage.options, KEPT)
    found, counted = compare(stage.options, stage.twin, migration_left=0, archived=archived)
    different += found
    # Posts that became text are still in playlists, as in the twin: the old schema allows it, preflight refuses it.
    stage.type(stage.operator, *REPAIR)
    stage.type(stage.operator, "migrate.yml")
    different += lost_on_the_way_forward(stage.options, twins.edited, twins.library)
    if query(stage.options, "SELECT 1 FROM pg_namespace WHERE nspname = %s", (KEPT,)):
        different.append(f"forward again: the schema {KEPT} is left")
    compared = ", ".join(f"{number} {table}" for table, number in counted.items())
    kept = ", ".join(f"{number} {reason}" for reason, number in reasons.items()) or "none"
    return different, (
        f"compared with a twin that was never migrated: schema text, catalogue, rows of {compared}; "
        f"archived by the reverse: {kept}; forward again: {len(twins.edited)} edited titles"
    )


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio-posts", type=int, default=1000)
    parser.add_argument("--operations", type=int, default=300)
    parser.add_argument("--each-version", action="store_true")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--postgres", type=int, default=17)
    given = parser.parse_args()
    with running_demo(given.postgres, given.audio_posts) as (server, directory):
        different, compared = drill(Stage(server, directory), given)
    for line in different:
        say(f"DIFFERENT {line}")
    say(f"{f'{len(different)} differences' if different else 'nothing differs'}; {compared}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
