"""The SQL of sql/demo/traffic, by name."""

from __future__ import annotations

import re
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / "sql" / "demo" / "traffic"
_MARK = re.compile(r"^-- statement: (\w+)$", re.MULTILINE)


def read_statements(*files: str) -> dict[str, str]:
    """Return the statements of these files by name; comments between mark and statement stay out."""
    found: dict[str, str] = {}
    for file in files:
        parts = _MARK.split((DIRECTORY / file).read_text(encoding="utf-8"))[1:]
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            lines = [line for line in text.strip().splitlines() if not line.startswith("--")]
            found[name] = "\n".join(lines)
    return found


APPLICATION = read_statements("reads.sql", "writes.sql", "accounts.sql")
WORLD = read_statements("world.sql")
