"""Tables for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> list[str]:
    """Return a Markdown table.

    :param align: a letter per column, l or r.
    """
    marks = ["---:" if side == "r" else "---" for side in align]
    return [_line(cells) for cells in (head, marks, *rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
