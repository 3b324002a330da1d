"""Measure `ansible-playbook migrate.yml` as an operator runs it: total time, and seconds per phase."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from support.playbooks import Operator
from support.servers import Options

from .contenders import Outcome


def whole_run(options: Options, limit_seconds: float) -> Outcome:
    """Run preflight, backup, snapshot, migrations, verification and report with a temporary inventory."""
    with tempfile.TemporaryDirectory(prefix="bench-run-") as directory:
        operator = Operator(Path(directory), options)
        started = time.monotonic()
        running = operator.start("migrate.yml")
        try:
            outcome = operator.finish(running, limit_seconds)
        finally:
            if running.poll() is None:
                running.terminate()
        seconds = time.monotonic() - started
        if outcome.status:
            return Outcome(seconds, failure=f"migrate.yml ended with status {outcome.status}: {outcome.text[-2000:]}")
        report = operator.report()
    phases = {phase["name"]: phase["duration_seconds"] for phase in report["phases"]}
    migrations = {migration["version"]: migration["duration_seconds"] for migration in report["migrations"]}
    details = {
        "state": report["state"],
        "outside_modules_seconds": seconds - sum(phases.values()),
        "migrations": migrations,
    }
    return Outcome(seconds, phases, details)
