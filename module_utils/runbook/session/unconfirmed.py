"""The failure of a commit that a synchronous standby did not confirm."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import RunbookError
from .standbys import REMEDY

SAME_COMMAND = "the same command again"

# What a statement writes to, for a message. Not a parser: it only names things.
TARGET = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|ALTER\s+TABLE|COPY|VACUUM(?:\s*\([^)]*\))?"
    r"|(?:CREATE|DROP|ALTER)\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+)?(?:SCHEMA|TABLE|INDEX|DATABASE|FUNCTION|TRIGGER|VIEW))"
    r"(?:\s+CONCURRENTLY|\s+IF\s+(?:NOT\s+)?EXISTS|\s+ONLY)*\s+"
    r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)',
    re.IGNORECASE,
)
WORDS = frozenset({"set", "of", "on", "as", "skip", "nowait"})
MOST_TARGETS = 3


class UnconfirmedCommitError(RunbookError):
    """A transaction is committed on this server, and no standby has confirmed it.

    :param targets: what it wrote to.
    :param ended_by: ``cancelled`` or ``terminated``.
    """

    def __init__(
        self, *, targets: list[str], pid: int, waited_seconds: float, standbys: str, ended_by: str, about: str = ""
    ) -> None:
        self.targets = targets
        self.pid = pid
        self.waited_seconds = waited_seconds
        self.standbys = standbys
        self.ended_by = ended_by
        self.recorded = False
        super().__init__(
            self._in_words(about),
            object_name=about or ", ".join(targets) or "synchronous_standby_names",
            left_as="resumable",
            next_command=f"{REMEDY}, then {SAME_COMMAND}",
        )

    def describe(self, about: str, resume_command: str = "", outcome: str = "") -> None:
        """Name what was committed, what was read of it afterwards, and the command that goes on."""
        self.msg = f"{self._in_words(about)}{f' {outcome}' if outcome else ''}"
        self.object_name = about
        self.args = (self.msg,)
        if resume_command:
            self.next_command = f"{REMEDY}, then {resume_command}"

    def facts_recorded(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return {
            "object": self.object_name,
            "wrote_to": self.targets,
            "pid": self.pid,
            "waited_seconds": self.waited_seconds,
            "standbys": self.standbys,
            "ended_by": self.ended_by,
        }

    def _in_words(self, about: str) -> str:
        wrote = f" It wrote to {', '.join(self.targets)}." if self.targets else ""
        waited = f" for {self.waited_seconds:g} s" if self.waited_seconds else ""
        state = f" ({self.standbys})" if self.standbys else ""
        ended = "cancelled" if self.ended_by == "cancelled" else "ended by terminating its session"
        if about:
            about = f"{about}: "
        return (
            f"{about}committed here, not confirmed by a standby. The commit of session {self.pid} waited{waited} for a "
            f"synchronous standby{state}; the wait was {ended}, so that its locks were released.{wrote} "
            "The transaction is complete on this server, and would be lost if a standby took its place now."
        )


def targets_of(connection: Any, statements: Iterable[Any]) -> list[str]:
    """Name what these statements write to, in their order."""
    found: list[str] = []
    for statement in statements:
        text = statement if isinstance(statement, str) else _text_of(connection, statement)
        for match in TARGET.finditer(text):
            name = match[1]
            if name.lower() not in WORDS and name not in found:
                found.append(name)
    return found[:MOST_TARGETS]


def _text_of(connection: Any, statement: Any) -> str:
    try:
        return str(statement.as_string(connection)) if hasattr(statement, "as_string") else bytes(statement).decode()
    except Exception:  # noqa: BLE001 - a name for a message; the connection may be gone
        return ""
