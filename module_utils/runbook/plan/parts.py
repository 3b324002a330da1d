"""What the shape of plan.yml is put together from. ``format: plan-file`` marks paths relative to the plan."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

NAME: Schema = {"type": "string", "pattern": "^[a-z_][a-z0-9_]{0,62}$"}
TEXT: Schema = {"type": "string", "minLength": 1}
FILE: Schema = {"type": "string", "format": "plan-file", "minLength": 1}
TABLE: Schema = {"type": "string", "pattern": r"^[^.\s]+\.[^.\s]+$"}
FUNCTION: Schema = TABLE
VERSION: Schema = {"type": "string", "pattern": "^[0-9]{14}$"}
RELATION: Schema = {"enum": ["equal", "at_least", "at_most", "any"]}
ROWS: Schema = {"type": "integer", "minimum": 1}
OPTIONAL_TEXT: Schema = {**TEXT, "default": ""}


def mapping(required: Schema, optional: Schema | None = None) -> Schema:
    """A mapping that knows all its keys: a misspelt one is an error."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def listing(items: Schema, **rules: Any) -> Schema:
    """A list; empty unless given, when it is optional."""
    return {"type": "array", "items": items, "default": [], **rules}


def optional(schema: Schema) -> Schema:
    """A part that is null in the loaded plan when plan.yml leaves it out."""
    return {**schema, "default": None}
