"""Text from a database, a server or a tool, made safe to print: hidden characters become visible text.

``visible`` is for one value: line breaks are shown too, so no value can begin a line of its own. A value that was not
passed through it is still caught when the message is printed: ``remember`` keeps each value from a server that
contains hidden characters, and ``printable`` replaces it wherever it occurs.
"""

from __future__ import annotations

import re
import threading
from typing import Any

# C0, DEL, C1, soft hyphen, bidirectional marks, zero-width and invisible characters, variation selectors, line and
# paragraph separators, unpaired surrogates, interlinear marks, tags, noncharacters. Tab and line feed are C0.
_CLASS = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
HIDDEN = re.compile(f"[{_CLASS}]")
_HIDDEN_BUT_LINES = re.compile(f"(?!\n)[{_CLASS}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: Limits of the values remembered: their number and total length; beyond them, every line break is escaped.
MOST_REMEMBERED = 10_000
MOST_LETTERS = 1 << 24


def visible(value: Any) -> str:
    r"""Return a value as text in which every hidden character is written out: ``\n``, ``\x1b``, ``\u202e``."""
    return HIDDEN.sub(_escape, str(value))


def visible_lines(text: str) -> str:
    """Return a text whose line breaks are our own, with every other hidden character written out."""
    return _HIDDEN_BUT_LINES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _SHORT:
        return _SHORT[match[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Memory:
    """Values with hidden characters that this process has read. If it is full, no text keeps its line breaks."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.full = False
        self._letters = 0
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        with self._lock:
            for text in {value, value.strip()} - self.values.keys():
                # White space alone cannot put words on a separate line.
                if text.strip() and HIDDEN.search(text):
                    self._letters += len(text)
                    self.full = self.full or len(self.values) >= MOST_REMEMBERED or self._letters > MOST_LETTERS
                    if not self.full:
                        self.values[text] = visible(text)

    def replaced(self, text: str) -> str:
        if self.full:
            return visible(text)
        with self._lock:
            found = [value for value in self.values if value in text]
        for value in sorted(found, key=len, reverse=True):
            text = text.replace(value, self.values[value])
        return text


_MEMORY = _Memory()


def remember(value: str) -> str:
    """Remember a value from a server if it contains hidden characters, and return it unchanged."""
    if HIDDEN.search(value):
        _MEMORY.add(value)
    return value


def remember_all(value: Any) -> Any:
    """Remember every text inside a value made of lists and dicts, and return it unchanged."""
    if isinstance(value, str):
        remember(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            remember_all(key)
            remember_all(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            remember_all(item)
    return value


def printable(value: Any) -> Any:
    """Return a plain value (see ``plain.to_plain``) with every text in it safe to print.

    Line breaks of our own messages stay; those of remembered values, and whatever else is hidden, are written out.
    """
    if isinstance(value, str):
        if HIDDEN.search(value):
            return visible_lines(_MEMORY.replaced(value))
        return value
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return value
