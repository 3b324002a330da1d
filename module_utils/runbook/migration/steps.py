"""A migration file as a list of steps: parsed with PostgreSQL's own parser, refused where a run could not resume."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal

import pglast

from ..errors import RunbookError
from ..sql_text import digest
from .lock_modes import Lock
from .step_kinds import Kind, kind_of, refused_statement
from .step_marks import MARK_FORMS, error_at, file_error, find_marks, line_of, read_lock

Direction = Literal["applied", "reverted"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a migration or revert file.

    :param line: of its mark in the file.
    :param sql: its whole text, marks and comments included.
    :param statements: the text of each statement, without its semicolon.
    :param data: it moves rows (revert files only): an in-place restore skips it.
    :param sha256: over its tokens: comments and white space do not count.
    """

    number: int
    name: str
    line: int
    sql: str
    statements: tuple[str, ...]
    kind: Kind
    locks: tuple[Lock, ...]
    data: bool
    sha256: str


def parse_file(path: str, *, backfill_function: str | None = None, direction: Direction = "applied") -> list[Step]:
    """Read a migration file (or, with direction ``reverted``, a revert file) into its steps.

    :param backfill_function: ``schema.function`` of the plan's backfill for this file; its call must be in it.
    :raises RunbookError: naming file and line of what a run could not do.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise RunbookError(f"cannot read {path}: {error.strerror}.", object_name=path) from error
    return parse_text(text, path, backfill_function=backfill_function, direction=direction)


def parse_text(
    text: str, path: str, *, backfill_function: str | None = None, direction: Direction = "applied"
) -> list[Step]:
    """As parse_file, for a text that was read already; ``path`` is what errors name."""
    return list(_parse(text, path, backfill_function, direction))


# A call asks for the same files several times: for drift, for the steps, for the ledger.
@functools.lru_cache(maxsize=100)
def _parse(text: str, path: str, backfill_function: str | None, direction: Direction) -> tuple[Step, ...]:
    statements = list(_statements(text, path))
    marks = list(find_marks(text, path))
    starts = [mark for mark in marks if mark[1] == "step"]
    if not starts:
        raise file_error(path, 1, "has no step: begin each step with a line", MARK_FORMS["step"])
    before_first = [place for place, _ in statements if place.start < starts[0][0]]
    if before_first:
        raise file_error(
            path, line_of(text, before_first[0].start), "statement before the first mark", MARK_FORMS["step"]
        )
    if marks[0][1] != "step":
        raise file_error(
            path, line_of(text, marks[0][0]), f"`-- {marks[0][1]}` before the first mark", MARK_FORMS["step"]
        )
    ends = [start for start, *_ in starts[1:]] + [len(text)]
    steps = []
    for number, ((start, _, name), end) in enumerate(zip(starts, ends, strict=True), 1):
        inside = [(place, node) for place, node in statements if start < place.start < end]
        options = [mark for mark in marks if start < mark[0] < end]
        steps.append(_step(text, path, number, (start, end, name), inside, options, backfill_function, direction))
    calls = [step for step in steps if step.kind == "backfill"]
    if backfill_function and len(calls) != 1:
        what = f"has {len(calls)} steps `SELECT {backfill_function}(NULL, NULL)`, the plan's backfill needs exactly one"
        raise file_error(path, calls[1].line if calls else 1, what)
    return tuple(steps)


def file_statements(steps: list[Step]) -> list[str]:
    """Return all statements in the file's order: what the ledger keeps."""
    return [statement for step in steps for statement in step.statements]


def _step(
    text: str,
    path: str,
    number: int,
    span: tuple[int, int, str],
    inside: list[tuple[slice, Any]],
    options: list[tuple[int, str, str]],
    backfill_function: str | None,
    direction: Direction,
) -> Step:
    start, end, name = span
    line = line_of(text, start)
    if not inside:
        raise file_error(path, line, f"step {name!r} has no statement")
    for place, node in inside:
        if why := refused_statement(node):
            raise error_at(text, path, place.start, why)
    for at, word, _ in options:
        if at > inside[0][0].start:
            raise file_error(
                path, line_of(text, at), f"`-- {word}` must stand between the step's mark and its statements"
            )
        if word == "data" and direction == "applied":
            raise error_at(text, path, at, "`-- data` belongs to revert files only")
    locks = tuple(read_lock(path, line_of(text, at), value) for at, word, value in options if word == "lock")
    kinds = [kind_of(node, backfill_function) for _, node in inside]
    for (place, _), kind in zip(inside, kinds, strict=True):
        if kind in ("concurrently", "backfill") and len(inside) > 1:
            what = "a CONCURRENTLY (or VACUUM) statement" if kind == "concurrently" else "the backfill's call"
            raise file_error(
                path, line_of(text, place.start), f"{what} shares step {name!r} with others: give it its own"
            )
    step_kind: Kind = kinds[0] if len(set(kinds)) == 1 else "transaction"
    if locks and step_kind != "transaction":
        raise file_error(path, line, f"`-- lock` in step {name!r}: only steps in a transaction lock tables first")
    statements = tuple(text[place] for place, _ in inside)
    return Step(
        number=number,
        name=name,
        line=line,
        sql=text[start:end].rstrip() + "\n",
        statements=statements,
        kind=step_kind,
        locks=locks,
        data=any(word == "data" for _, word, _ in options),
        sha256=digest(statements),
    )


def _statements(text: str, path: str) -> Iterator[tuple[slice, Any]]:
    """Each statement with its place in the text, leading comments and the semicolon left out."""
    try:
        nodes = pglast.parse_sql(text)
        places = pglast.split(text, only_slices=True)
    except pglast.parser.ParseError as error:
        at = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        raise error_at(text, path, at, f"not PostgreSQL's SQL: {error.args[0]}") from error
    yield from ((place, raw.stmt) for place, raw in zip(places, nodes, strict=True))
