"""Levels of health signals as an operator types them: ``replica_lag_bytes=64MB,lock_waiters=never``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from .control import SIGNALS, Levels

UNITS = {"": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
#: From the mildest to the most severe.
KINDS = ("slow", "pause", "abort")
NEVER = "never"
#: Removes an operator's level, so that the run's own applies again.
DEFAULT = "default"


def merged_levels(present: Levels, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return the levels with the given ones merged in; the others stay.

    :param given: ``slow``, ``pause`` and ``abort``, each with levels by signal as they were typed.
    :raises RunbookError: an unknown signal, a value that is not a number, or levels in the wrong order.
    """
    levels = {signal: dict(both) for signal, both in present.items()}
    for kind in KINDS:
        for signal, typed in given[kind].items():
            if signal not in SIGNALS:
                raise _refusal(f"{signal} is not a health signal; choose one of {', '.join(SIGNALS)}", signal)
            if str(typed).strip() == DEFAULT:
                levels.get(signal, {}).pop(kind, None)
            else:
                levels.setdefault(signal, {})[kind] = _number(f"{kind}_at {signal}", typed)
    for signal, both in levels.items():
        known = [(kind, level) for kind in KINDS if (level := both.get(kind)) is not None]
        for (milder, low), (harder, high) in itertools.pairwise(known):
            if low > high:
                raise _refusal(f"{signal} would {harder} at {high:g}, below its {milder} at {low:g}", signal)
    return {signal: both for signal, both in levels.items() if both}


def _number(name: str, typed: Any) -> float | None:
    text = str(typed).strip()
    if typed is None or text == NEVER:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]b|)", text, re.IGNORECASE)
    if not match:
        raise _refusal(
            f"{name}={text} is not a valid level: give a number (kB, MB, GB, TB), {NEVER}, or {DEFAULT} for the "
            "run's own",
            name.split()[1],
        )
    number = float(match[1]) * UNITS[match[2].lower()]
    return int(number) if number.is_integer() else number


def _refusal(what: str, signal: str) -> RunbookError:
    return RunbookError(
        f"{what}.",
        object_name=signal,
        next_command="ansible-playbook playbooks/control.yml -e control=set -e pause_at=lock_waiters=20",
    )
