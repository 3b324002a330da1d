"""Measure the application's latencies: the load of bench.traffic with and without a migration."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.journal.migration_state import file_steps
from ansible.module_utils.runbook.plan.loader import load_plan
from support.servers import REPOSITORY, SUPERUSER, Options, query

from .contenders import PLAN_DIRECTORY, NotBuiltError, Outcome, online

RATE = 200
BASELINE_SECONDS = 20
#: The default of pg_migration's lock_timeout_seconds: how long one attempt may delay the application.
LOCK_TIMEOUT_SECONDS = 0.5


def latency(options: Options, limit_seconds: float) -> Outcome:
    """Run the load alone, then with the four migrations online, on one database."""
    if importlib.util.find_spec("bench.traffic") is None:
        raise NotBuiltError("bench.traffic is not there")
    with tempfile.TemporaryDirectory(prefix="bench-latency-") as directory:
        without = _load(options, Path(directory) / "without.json", 1, BASELINE_SECONDS).finish()
        load = _load(options, Path(directory) / "with.json", 2, limit_seconds)
        time.sleep(2)  # connections are open, and the first requests are answered
        outcome = online(options, limit_seconds)
        time.sleep(2)
        loaded = load.finish()
    loaded["lock_waits"] = waits_of_lock_steps(options, loaded, outcome)
    outcome.details["load"] = {name: _kept(result) for name, result in (("without", without), ("with", loaded))}
    return outcome


class _Running:
    def __init__(self, process: subprocess.Popen[bytes], output: Path, stop: Path | None) -> None:
        self._process, self._output, self._stop = process, output, stop

    def finish(self) -> dict[str, Any]:
        if self._stop:
            self._stop.touch()
        if self._process.wait(timeout=120):
            raise RuntimeError(f"the load ended with status {self._process.returncode}")
        result: dict[str, Any] = json.loads(self._output.read_text(encoding="utf-8"))
        return result


def _load(options: Options, output: Path, seed: int, seconds: float) -> _Running:
    stop = output.with_suffix(".stop") if seconds > BASELINE_SECONDS else None
    command = [sys.executable, "-m", "bench.traffic", "--host", options["host"], "--port", str(options["port"])]
    command += ["--dbname", options["dbname"], "--superuser", SUPERUSER, "--rate", str(RATE)]
    command += ["--seed", str(seed)]  # with the same seed, the second load would write the ids of the first
    command += ["--seconds", str(seconds), "--output", str(output), *(["--until-file", str(stop)] if stop else [])]
    return _Running(subprocess.Popen(command, cwd=REPOSITORY), output, stop)


def waits_of_lock_steps(options: Options, loaded: dict[str, Any], outcome: Outcome) -> list[dict[str, Any]]:
    """Match the application's longest waits with the steps that lock tables.

    :returns: per wait that meets such a step: its seconds, and what is allowed (lock_timeout and the step's own time).
    """
    locking = {
        (migration["version"], step.name)
        for migration in load_plan(str(PLAN_DIRECTORY))["migrations"]
        for step in file_steps(migration, "applied")
        if step.locks
    }
    took = {(step["version"], step["name"]): step["seconds"] or 0.0 for step in outcome.details["steps"]}
    done = query({**options, "user": SUPERUSER}, "SELECT version, name, finished_at FROM migration_runbook.step")
    begun = datetime.fromisoformat(loaded["begun_at"])
    found = []
    for wait in loaded["longest"]:
        seconds = wait["milliseconds"] / 1000
        met = [
            (version, name)
            for version, name, finished_at in done
            if (version, name) in locking
            and wait["second"] <= (last := (finished_at - begun).total_seconds())
            and wait["second"] + seconds >= last - took[version, name]
        ]
        if met:
            allowed = LOCK_TIMEOUT_SECONDS + max(took[step] for step in met)
            found.append({"seconds": seconds, "allowed": allowed, "steps": [name for _, name in met]})
    return found


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    names = ("seconds", "statements", "rate_reached", "never_started", "milliseconds", "failed", "errors", "expected")
    kept = {name: result.get(name) for name in names}
    return kept | {"longest": result["longest"][:5], "lock_waits": result.get("lock_waits", [])}
