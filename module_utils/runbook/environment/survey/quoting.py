"""Names in the commands that a finding prints."""

from __future__ import annotations

import re


def quoted(name: str) -> str:
    """Return a name as SQL takes it: in quotes where it needs them."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
