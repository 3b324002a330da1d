"""The options that say what a data snapshot holds, shared by the modules that take one."""

from __future__ import annotations

from typing import Any

RELATIONS = ["equal", "at_least", "at_most", "any"]


def snapshot_options() -> dict[str, Any]:
    """Return ``counts``, ``samples`` and ``fingerprints`` of an argument_spec."""
    name = {"type": "str", "required": True}
    query = {"type": "path", "required": True}
    fingerprint = {
        "name": name,
        "table": {"type": "str"},
        "query": {"type": "path"},
        "key": {"type": "str", "required": True},
        "by_application": {"type": "path"},
        "after_migration": {"type": "str", "choices": RELATIONS, "default": "equal"},
    }
    count = {
        "name": name,
        "query": query,
        "after_migration": {"type": "str", "choices": RELATIONS, "default": "any"},
        "by_application": {"type": "path"},
    }
    return {
        "counts": _listing(count),
        "samples": _listing({"name": name, "query": query}),
        "fingerprints": {
            **_listing(fingerprint),
            "mutually_exclusive": [["table", "query"]],
            "required_one_of": [["table", "query"]],
        },
    }


def _listing(options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}
