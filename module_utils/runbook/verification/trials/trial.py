"""Parse trial files, and select the trials that are valid in a state of the database."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import pglast
from pglast import ast

from ...errors import RunbookError

Kind = Literal["pick", "expect", "effect"]

MARK = re.compile(r"--\s*(?P<word>pick|expect|effect)\s*:\s*(?P<value>.*?)\s*$", re.IGNORECASE)
ROWS = re.compile(r"(?P<least>at least )?(?P<number>\d+) rows?")
PARAMETER = re.compile(r"%\((?P<name>[a-z_][a-z0-9_]*)\)s")

FORMS = "`-- pick: words`, `-- expect: 1 row`, `-- expect: at least 1 row` or `-- effect: words`"
ORDER: dict[Kind, int] = {"pick": 0, "expect": 1, "effect": 2}


@dataclasses.dataclass(frozen=True)
class Statement:
    """One statement of a trial.

    :param what: the text of its mark.
    :param text: as the file has it, with its parameters.
    :param least: rows that it must affect at least (``expect`` only); ``most`` is None for "at least".
    """

    kind: Kind
    what: str
    text: str
    line: int
    least: int = 1
    most: int | None = 1

    def for_driver(self) -> str:
        """Return the text with each percent sign doubled that does not start a parameter."""
        return re.sub(r"%(?!\([a-z_][a-z0-9_]*\)s)", "%%", self.text)


@dataclasses.dataclass(frozen=True)
class TrialFile:
    """The statements of a trial in order: picks, statements of the application, queries for the effect."""

    path: str
    statements: tuple[Statement, ...]

    def of_kind(self, kind: Kind) -> list[Statement]:
        """Return the statements of one kind."""
        return [statement for statement in self.statements if statement.kind == kind]


def read_trial(path: str) -> TrialFile:
    """Read a trial file.

    :raises RunbookError: with file and line of what a trial cannot do.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise RunbookError(f"cannot read {path}: {error.strerror}.", object_name=path) from error
    return _parse(path, text)


# A migration reads the same files before each of its steps.
@functools.lru_cache(maxsize=200)
def _parse(path: str, text: str) -> TrialFile:
    # Same length as the parameter, so that offsets in the text stay the same.
    parsed = PARAMETER.sub(lambda found: "$" + "1".rjust(len(found[0]) - 1, "0"), text)
    try:
        nodes = pglast.parse_sql(parsed)
        places = pglast.split(parsed, only_slices=True)
    except pglast.parser.ParseError as error:
        at = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        raise _error(path, text, at, f"not valid PostgreSQL: {error.args[0]}") from error
    marks = list(_marks(parsed))
    statements, after = [], 0
    for place, raw in zip(places, nodes, strict=True):
        own = [(start, mark) for start, mark in marks if after <= start < place.start]
        if len(own) != 1:
            count = "no mark" if not own else f"{len(own)} marks"
            raise _error(path, text, place.start, f"the statement has {count}: give it one, {FORMS}")
        statements.append(_statement(path, text, place, raw.stmt, own[0][1]))
        after = place.stop
    _check(path, statements)
    return TrialFile(path, tuple(statements))


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Replace the parameters in a text that is not SQL."""
    return PARAMETER.sub(lambda found: str(values[found["name"]]), text)


def _marks(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    for token in pglast.scan(text):
        if token.name == "SQL_COMMENT" and (found := MARK.match(text[token.start : token.end + 1])):
            yield token.start, found


def _statement(path: str, text: str, place: slice, node: Any, mark: re.Match[str]) -> Statement:
    kind: Kind = mark["word"].lower()  # type: ignore[assignment]  # the pattern knows no other word
    line = text.count("\n", 0, place.start) + 1
    if isinstance(node, (ast.TransactionStmt, ast.VariableSetStmt, ast.LockStmt, ast.DoStmt)):
        what = "the runner controls the transaction and environment of a trial: remove this statement"
        raise _error(path, text, place.start, what)
    if kind != "expect":
        if not isinstance(node, ast.SelectStmt):
            raise _error(path, text, place.start, f"`-- {kind}` needs a SELECT")
        return Statement(kind, mark["value"], text[place], line)
    rows = ROWS.fullmatch(mark["value"])
    if rows is None:
        raise _error(path, text, place.start, f"cannot read {mark['value']!r} as a number of rows: write {FORMS}")
    number = int(rows["number"])
    return Statement(kind, mark["value"], text[place], line, number, None if rows["least"] else number)


def _check(path: str, statements: list[Statement]) -> None:
    kinds = [statement.kind for statement in statements]
    for kind in ("expect", "effect"):
        if kind not in kinds:
            what = "no statement of the application" if kind == "expect" else "no query that asserts the effect"
            raise RunbookError(f"{path}:1: {what} (`-- {kind}: …`).", object_name=path, next_command=f"edit {path}")
    for before, after in itertools.pairwise(statements):
        if ORDER[before.kind] > ORDER[after.kind]:
            what = f"`-- {after.kind}` after `-- {before.kind}`: the order is pick, expect, effect"
            raise RunbookError(f"{path}:{after.line}: {what}.", object_name=path, next_command=f"edit {path}")


def _error(path: str, text: str, offset: int, what: str) -> RunbookError:
    place = f"{path}:{text.count(chr(10), 0, offset) + 1}"
    return RunbookError(f"{place}: {what}.", object_name=place, next_command=f"edit {path}")


Application = Literal["old", "new"]

#: Value of ``valid_until`` for "until the compatibility is retired".
RETIREMENT = "retirement"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One entry of the plan's ``trials`` with its file.

    :param role: role that sends the statements; row-level security applies to it.
    :param login_role: role that the application connects as, for its settings; empty for none.
    :param settings: parameters that the application sets; values may contain ``%(column)s`` of a pick.
    """

    name: str
    title: str
    by: Application
    role: str
    login_role: str
    settings: Mapping[str, str]
    file: TrialFile


def valid_trials(
    plan: Mapping[str, Any], applied: Collection[str], *, retired: bool, by: Application | None = None
) -> list[Trial]:
    """Read the trials that must succeed now.

    :param applied: applied versions.
    :param retired: the compatibility with the old application is retired.
    :param by: only those of this application.
    :raises RunbookError: a trial's file cannot be read.
    """
    entries = [entry for entry in plan.get("trials") or [] if by in (None, entry["by"])]
    return [_read(entry) for entry in entries if is_valid(plan, entry, applied, retired=retired)]


def is_valid(plan: Mapping[str, Any], entry: Mapping[str, Any], applied: Collection[str], *, retired: bool) -> bool:
    """Return whether the application sends these statements in this state of the database."""
    begins, ends = entry.get("valid_from"), entry.get("valid_until")
    if entry["by"] == "new":
        begins = begins or plan.get("new_application_after") or plan["migrations"][-1]["version"]
    else:
        ends = ends or RETIREMENT
    if begins and begins not in applied:
        return False
    return not (retired if ends == RETIREMENT else ends in applied)


def tables_of_plan(plan: Mapping[str, Any]) -> Sequence[str]:
    """Return the tables that the application's statements use and the plan may change."""
    moved = [migration["backfill"]["table"] for migration in plan["migrations"] if migration.get("backfill")]
    return list(dict.fromkeys([*(entry["table"] for entry in plan["protected_tables"]), *moved]))


def _read(entry: Mapping[str, Any]) -> Trial:
    return Trial(
        name=entry["name"],
        title=entry.get("title") or entry["name"].replace("_", " "),
        by=entry["by"],
        role=entry["role"],
        login_role=entry.get("login_role") or "",
        settings={name: str(value) for name, value in (entry.get("settings") or {}).items()},
        file=read_trial(entry["file"]),
    )
