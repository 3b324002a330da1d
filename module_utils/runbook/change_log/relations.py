"""Which relations a query reads."""

from __future__ import annotations

from typing import Any

import pglast
from pglast.visitors import Visitor


def relations(text: str) -> list[str]:
    """Return the relations that a query names with their schema, each once."""
    found: dict[str, None] = {}

    class Names(Visitor):
        def visit_RangeVar(self, _: Any, node: Any) -> None:  # noqa: N802
            if node.schemaname:
                found[f"{node.schemaname}.{node.relname}"] = None

    Names()(pglast.parse_sql(text))
    return list(found)
