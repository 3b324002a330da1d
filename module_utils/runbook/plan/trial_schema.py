"""The shape of what a plan says about trials."""

from __future__ import annotations

from typing import Any

from .document import PlanDocument
from .parts import FILE, NAME, OPTIONAL_TEXT, TEXT, VERSION, mapping, optional

#: Statements that an application sends, with the role that sends them. ``retirement``: until the compatibility is gone.
TRIAL = mapping(
    {"name": NAME, "file": FILE, "role": TEXT, "by": {"enum": ["old", "new"]}},
    {
        "title": OPTIONAL_TEXT,
        "login_role": OPTIONAL_TEXT,
        "valid_from": optional(VERSION),
        "valid_until": optional({"type": "string", "pattern": "^([0-9]{14}|retirement)$"}),
        "settings": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
    },
)


def check_trials(document: PlanDocument, plan: dict[str, Any]) -> None:
    """A trial is valid between versions of the plan."""
    known = {None, "retirement", *(migration["version"] for migration in plan["migrations"])}
    for number, trial in enumerate(plan["trials"]):
        for key in ("valid_from", "valid_until"):
            if trial[key] not in known:
                document.complain(("trials", number, key), f"{trial[key]} is not a version in migrations")
