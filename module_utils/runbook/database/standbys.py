"""Find which synchronous standbys a commit waits for, and whether enough are connected."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - named as in connection.py, which imports this file

from ..errors import RunbookError

#: What a DBA can do about an absent standby.
REMEDY = (
    "connect the standby again, or let a DBA decide to do without it "
    "(ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf())"
)

#: Values of synchronous_commit with which a commit waits for a standby.
WAITING = ("on", "remote_write", "remote_apply")

# As syncrep_scanner.l reads it: a quoted name, a word, a number, a star, or one of ( ) and comma.
TOKEN = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)|(\d+)|([*(),]))')

STATE = """
SELECT pg_catalog.current_setting('synchronous_standby_names') AS names,
       pg_catalog.current_setting('synchronous_commit') AS commits,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS readable
"""

SENDERS = """
SELECT pid, coalesce(application_name, '') AS name, coalesce(state, '') AS state, coalesce(sync_state, '') AS sync_state
  FROM pg_catalog.pg_stat_replication ORDER BY application_name, pid
"""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What ``synchronous_standby_names`` asks for.

    :param count: how many standbys have to confirm a commit.
    :param names: their names; ``*`` is any.
    """

    count: int
    names: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Return whether a standby of this name counts. The server compares without regard to case."""
        return any(wanted == "*" or wanted.lower() == name.lower() for wanted in self.names)


@dataclasses.dataclass(frozen=True)
class Standbys:
    """What a commit of this session waits for.

    :param names: ``synchronous_standby_names`` as the server has it.
    :param commits: ``synchronous_commit`` of the session.
    :param wanted: what the names ask for; None if they are empty.
    :param readable: whether the role may read names and states of the standbys.
    :param senders: rows of pg_stat_replication.
    """

    names: str
    commits: str
    wanted: Wanted | None
    readable: bool
    senders: tuple[dict[str, Any], ...]

    @property
    def waits(self) -> bool:
        """Return whether a commit of this session waits for a standby at all."""
        return self.wanted is not None and self.commits in WAITING

    @property
    def confirming(self) -> int | None:
        """How many connected standbys can confirm a commit; None if the role may not read it."""
        if not self.readable and self.senders:
            return None
        wanted = self.wanted
        return len(
            [row for row in self.senders if row["state"] == "streaming" and wanted and wanted.takes(row["name"])]
        )

    @property
    def missing(self) -> bool:
        """Return whether a commit would certainly wait forever."""
        if not self.waits or self.wanted is None:
            return False
        confirming = self.confirming
        return (len(self.senders) if confirming is None else confirming) < self.wanted.count

    def to_text(self) -> str:
        """Return what is required and what is connected."""
        count = self.wanted.count if self.wanted else 0
        asked = f"synchronous_standby_names = '{self.names}' asks for {count} standby{'s' if count != 1 else ''}"
        if not self.senders:
            return f"{asked}; none is connected"
        if not self.readable:
            return f"{asked}; {len(self.senders)} connected, whose names and states this role may not read"
        seen = ", ".join(f"{row['name'] or '(no name)'} ({row['state'] or 'state unknown'})" for row in self.senders)
        return f"{asked}; {self.confirming} can confirm. Connected: {seen}"


def parse_standby_names(text: str) -> Wanted | None:
    """Parse ``synchronous_standby_names``: a list, ``n (list)``, ``FIRST n (list)`` or ``ANY n (list)``.

    :returns: None if it is empty.
    :raises ValueError: the server would not have accepted it either.
    """
    tokens = _tokens(text)
    if not tokens:
        return None
    count = 1
    if len(tokens) > 1 and tokens[0][0] == "word" and tokens[0][1].lower() in ("first", "any") and tokens[1][0] == "n":
        tokens = tokens[1:]
    if len(tokens) > 1 and tokens[0][0] == "n" and tokens[1] == ("mark", "("):
        if tokens[-1] != ("mark", ")"):
            raise ValueError(text)
        count, tokens = int(tokens[0][1]), tokens[2:-1]
    names = []
    for position, (kind, value) in enumerate(tokens):
        if position % 2 == 1:
            if (kind, value) != ("mark", ","):
                raise ValueError(text)
        elif kind == "mark" and value != "*":
            raise ValueError(text)
        else:
            names.append(value)
    if not names or len(tokens) % 2 == 0:
        raise ValueError(text)
    return Wanted(count, tuple(names))


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while text[position:].strip():
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(text)
        quoted, word, number, mark = match.groups()
        if quoted is not None:
            tokens.append(("quoted", quoted.replace('""', '"')))
        else:
            kind = "word" if word is not None else "n" if number is not None else "mark"
            tokens.append((kind, word or number or mark))
        position = match.end()
    return tokens


def read_standbys(cursor: Cursor) -> Standbys:
    """Read what a commit of this session would wait for. Standbys are looked up only where one is asked for."""
    cursor.execute(STATE)
    row = cursor.fetchone()
    assert row is not None  # a query without FROM
    names, commits, in_recovery, readable = row
    try:
        wanted = None if in_recovery else parse_standby_names(names)
    except ValueError:
        # A later server may have a syntax of its own: one standby at least has to be connected.
        wanted = Wanted(1, ("*",))
    if wanted is None or commits not in WAITING:
        return Standbys(names, commits, wanted, bool(readable), ())
    cursor.execute(SENDERS)
    senders = tuple(
        {"pid": pid, "name": name, "state": state, "sync_state": sync_state}
        for pid, name, state, sync_state in cursor.fetchall()
    )
    return Standbys(names, commits, wanted, bool(readable), senders)


def require_standbys(cursor: Cursor) -> Standbys:
    """Refuse to write while a commit would certainly wait for an absent standby.

    :raises RunbookError: too few standbys are connected.
    """
    standbys = read_standbys(cursor)
    if standbys.missing:
        raise RunbookError(
            f"a commit would wait forever: {standbys.to_text()}.",
            object_name="synchronous_standby_names",
            next_command=f"{REMEDY}, then run the same command again",
        )
    return standbys


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
        """Return what was committed, what was read afterwards, and the command that resumes."""
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
