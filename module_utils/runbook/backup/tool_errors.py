"""What a client tool wrote to standard error: its errors first, on one line."""

from __future__ import annotations

import re

from ..visible import visible

ERROR_LINES = 8

_ERROR = re.compile(r"\w+: (error|fatal): ")
#: Ends the lines that belong to an error: another message, or the statement, which can be long.
_END = re.compile(r"\w+: \w+: |Command was: ")
#: The statement again, and where in it.
_PLACE = re.compile(r"LINE \d+: |\s*\^\s*$")


def why(text: str) -> str:
    """Return a tool's errors with the server's details and hints, or its last lines where it calls none an error."""
    found: list[str] = []
    of_an_error = False
    for line in text.splitlines():
        of_an_error = bool(_ERROR.match(line)) or (of_an_error and not _END.match(line))
        if of_an_error and not _PLACE.match(line):
            found.append(line.strip())
    lines = found[:ERROR_LINES] or text.splitlines()[-ERROR_LINES:]
    return visible("; ".join(lines)) or "it said nothing"
