"""Run the real playbooks as an operator does, with an inventory of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.servers import REPOSITORY

PLAN_DIRECTORY = REPOSITORY / "sql" / "tracks_posts_separation"


@dataclass
class Outcome:
    """Exit status and output of a command, with the line breaks of long messages removed."""

    status: int
    screen: str

    @property
    def text(self) -> str:
        return " ".join(self.screen.split())


class Operator:
    """Runs playbooks on one database, with artifacts in a directory of the test."""

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, Any],
        *,
        host: str = "test_database",
        runbook_environment: str = "local",
        **variables: Any,
    ):
        self.directory = directory
        self.host = host
        self.artifacts = directory / "artifacts"
        self.screens: dict[int, Path] = {}
        settings = {
            "ansible_connection": "local",
            "runbook_artifacts_directory": str(self.artifacts),
            "database_connection": dict(options),
            "migration_plan_directory": str(PLAN_DIRECTORY),
            "migration_plan_settings": {"migrated_tracks_are_public": True},
            **variables,
        }
        # The environment is the group below databases.
        inventory = {"databases": {"children": {runbook_environment: {"hosts": {host: settings}}}}}
        self.inventory = directory / "hosts.json"
        self.inventory.write_text(json.dumps(inventory))

    def type(self, playbook: str, *arguments: str) -> Outcome:
        """Run a playbook to its end, whatever its exit status."""
        return self.finish(self.start(playbook, *arguments))

    def start(self, playbook: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a playbook. Its output goes to a file, because nobody may read a pipe."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        with open(self.directory / f"screen-{len(self.screens)}.txt", "w") as screen:
            running = subprocess.Popen(
                [program, "-i", str(self.inventory), playbook, *arguments],
                cwd=REPOSITORY,
                env={**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
                stdout=screen,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.screens[running.pid] = Path(screen.name)
        return running

    def finish(self, running: subprocess.Popen[str], timeout_seconds: float = 300) -> Outcome:
        """Wait for a playbook, and return its exit status and output."""
        status = running.wait(timeout=timeout_seconds)
        return Outcome(status, self.screens[running.pid].read_text())

    def runs(self) -> list[Path]:
        """Return the directories of the runs, oldest first."""
        return sorted(path for path in self.artifacts.glob(f"*/{self.host}/*") if path.is_dir())

    def report(self) -> dict[str, Any]:
        """Return the newest run's report."""
        report: dict[str, Any] = json.loads((self.runs()[-1] / "report.json").read_text())
        return report
