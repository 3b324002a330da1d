"""The real playbooks, typed as an operator types them, on an inventory of the test's own."""

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
    """What a command did: exit status and screen, with the line breaks of long messages taken out."""

    status: int
    screen: str

    @property
    def text(self) -> str:
        return " ".join(self.screen.split())


class Operator:
    """Types playbooks against one database, with artifacts in a directory of the test."""

    def __init__(self, directory: Path, options: Mapping[str, Any], *, host: str = "test_database", **variables: Any):
        self.directory = directory
        self.host = host
        self.artifacts = directory / "artifacts"
        settings = {
            "ansible_connection": "local",
            "runbook_environment": "local",
            "runbook_artifacts_directory": str(self.artifacts),
            "database_connection": dict(options),
            "migration_plan_directory": str(PLAN_DIRECTORY),
            "migration_plan_settings": {"migrated_tracks_are_public": True},
            **variables,
        }
        inventory = {"databases": {"hosts": {host: settings}}}
        self.inventory = directory / "hosts.json"
        self.inventory.write_text(json.dumps(inventory))

    def type(self, playbook: str, *arguments: str) -> Outcome:
        """Run a playbook to its end. The exit status is the caller's to judge."""
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(self.inventory),
            playbook,
            *arguments,
        ]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout + done.stderr)

    def runs(self) -> list[Path]:
        """Directories of the runs, oldest first."""
        return sorted(path for path in self.artifacts.glob(f"*/{self.host}/*") if path.is_dir())

    def report(self) -> dict[str, Any]:
        """The newest run's report."""
        report: dict[str, Any] = json.loads((self.runs()[-1] / "report.json").read_text())
        return report
