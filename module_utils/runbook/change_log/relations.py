"""Which relations a query reads."""

from __future__ import annotations

from typing import Any


def relations(text: str) -> list[str]:
    """Return the relations that a query names with their schema, each once."""
    import pglast  # here: only queries need it, and it takes longer to load than what asks
    from pglast.visitors import Visitor

    found: dict[str, None] = {}

    class Names(Visitor):
        def visit_RangeVar(self, _: Any, node: Any) -> None:  # noqa: N802
            if node.schemaname:
                found[f"{node.schemaname}.{node.relname}"] = None

    Names()(pglast.parse_sql(text))
    return list(found)
