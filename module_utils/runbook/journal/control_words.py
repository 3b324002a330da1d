"""What is in force for a run, in words: for the second terminal, the monitor and the status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

VALUES = ("batch_rows", "batch_budget_milliseconds", "workers", "postpone_contract", "levels")


def in_force(said: Mapping[str, Any]) -> str:
    """Say what is in force."""
    values = [f"{name}={shown(said[name])}" for name in VALUES if said[name] not in (None, {})]
    return f"in force: {said['command']}; {', '.join(values) or 'all values as the run was started with'}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say what was replaced by what."""
    return "; ".join(
        f"{name} {shown(before[name])} -> {shown(after[name])}"
        for name in ("command", *VALUES)
        if before[name] != after[name]
    )


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if value is None or value == {}:
        return "as started"
    if isinstance(value, dict):
        return ", ".join(
            f"{signal} {kind} at {_level(signal, level)}"
            for signal, both in sorted(value.items())
            for kind, level in both.items()
        )
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _level(signal: str, level: float | None) -> str:
    if level is None:
        return "never"
    units = (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)) if "bytes" in signal else ()
    return next((f"{level / size:g} {unit}" for unit, size in units if level and not level % size), str(level))


def summary(result: Mapping[str, Any], command: str, *, check_mode: bool, wait_seconds: float) -> list[str]:
    """Say what a command replaced, what is in force, and whether the run has applied it."""
    run, force = f"run {result['run_id']}", in_force(result["control"])
    if not result["changed"]:
        return [f"{run}: {command} changes nothing, it is in force already", force]
    would = "would be " if check_mode else ""
    lines = [f"{run}: {would}changed: {changes(result['before'], result['control'])}", force]
    if check_mode:
        return lines
    if result["acknowledged"]:
        return [*lines, f"the run has applied it, {result['acknowledged_seconds']:g} s after it was said"]
    if not result["working"]:
        takes_back = "; -e control=resume takes it back" if command == "abort" else ""
        takes_back += "; playbooks/end_watch.yml closes a run that has changed no table" if command == "abort" else ""
        return [*lines, f"no run is working right now: it is read at the next start{takes_back}"]
    within = f" within {wait_seconds:g} s" if wait_seconds else " yet"
    return [*lines, f"the run has not said{within} that it applied it: it does so before its next batch"]
