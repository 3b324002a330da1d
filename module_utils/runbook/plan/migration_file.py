"""Parse a migration file into steps with PostgreSQL's own parser; refuse what a run could not resume."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator
from typing import Any, Literal

import pglast
from pglast import ast, enums

from ..database.lock_modes import LOCK_FORM, LOCK_MODES, Lock
from ..errors import RunbookError
from .sql_text import digest

MARK_FORMS = {
    "step": "-- step: what it does",
    "lock": "-- lock: schema.table ACCESS EXCLUSIVE",
    "data": "-- data",
}
_MARK_LIKE = re.compile(r"--\s*(?:(?P<word>[A-Za-z_]+)\s*:|(?P<alone>step|lock|data)\s*$)", re.IGNORECASE)
_LOCK = re.compile(LOCK_FORM)


def find_marks(text: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Yield each mark: offset, word, text after the colon. Comments inside function bodies do not count."""
    for token in pglast.scan(text):
        if token.name != "SQL_COMMENT" or (token.start > 0 and text[token.start - 1] != "\n"):
            continue
        comment = text[token.start : token.end + 1].rstrip()
        found = _MARK_LIKE.match(comment)
        if not found:
            continue
        word = (found["word"] or found["alone"]).lower()
        close = difflib.get_close_matches(word, MARK_FORMS, n=1, cutoff=0.75)
        if not close:
            continue
        value = comment.partition(":")[2].strip()
        exact = comment == "-- data" if close[0] == "data" else comment.startswith(f"-- {close[0]}: ") and value != ""
        if not exact:
            what = f"unknown mark {comment!r} (an ordinary comment must not begin like a mark)"
            raise error_at(text, path, token.start, what, MARK_FORMS[close[0]])
        yield token.start, close[0], value


def read_lock(path: str, line: int, value: str) -> Lock:
    found = _LOCK.fullmatch(value)
    if not found:
        raise file_error(
            path, line, f"cannot read the lock {value!r} (modes: {', '.join(LOCK_MODES)})", MARK_FORMS["lock"]
        )
    return Lock(table=found[1], mode=found[2])


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def file_error(path: str, line: int, what: str, form: str = "") -> RunbookError:
    return RunbookError(
        f"{path}:{line}: {what}{f': write `{form}`' if form else ''}.",
        object_name=f"{path}:{line}",
        next_command=f"edit {path}",
    )


def error_at(text: str, path: str, offset: int, what: str, form: str = "") -> RunbookError:
    """Return a file_error for an offset in the text."""
    return file_error(path, line_of(text, offset), what, form)


#: How a step runs. ``transaction``: under lock_timeout, with its journal row. ``concurrently``: outside a
#: transaction. ``validate``: in a transaction under statement_timeout only. ``backfill``: in committed batches.
Kind = Literal["transaction", "concurrently", "validate", "backfill"]


def kind_of(node: Any, backfill_function: str | None) -> Kind:
    """Return the kind of step that a statement needs."""
    if runs_outside_transactions(node):
        return "concurrently"
    if isinstance(node, ast.AlterTableStmt) and all(_validates(command) for command in node.cmds or ()):
        return "validate"
    if backfill_function and called_function(node) == backfill_function:
        return "backfill"
    return "transaction"


def runs_outside_transactions(node: Any) -> bool:
    """Return whether the server refuses the statement inside a transaction block."""
    if isinstance(node, (ast.IndexStmt, ast.DropStmt)):
        return bool(node.concurrent)
    if isinstance(node, ast.ReindexStmt):
        return any(option.defname == "concurrently" for option in node.params or ())
    return isinstance(node, ast.VacuumStmt) and bool(node.is_vacuumcmd)


def called_function(node: Any) -> str | None:
    """Return ``schema.function`` if the statement is just ``SELECT schema.function(NULL, NULL)``, else None."""
    if not isinstance(node, ast.SelectStmt) or len(node.targetList or ()) != 1 or node.fromClause or node.whereClause:
        return None
    call = _only(node.targetList).val
    if not isinstance(call, ast.FuncCall) or len(call.args or ()) != 2:
        return None
    if not all(isinstance(argument, ast.A_Const) and argument.isnull for argument in call.args or ()):
        return None
    return ".".join(part.sval for part in call.funcname or ())


def refused_statement(node: Any) -> str | None:
    """Return why a file must not contain the statement, or None."""
    if isinstance(node, ast.TransactionStmt):
        word = enums.TransactionStmtKind(int(node.kind or 0)).name.removeprefix("TRANS_STMT_").replace("_", " ")
        return f"{word} in a file: the runner runs each step in its own transaction"
    if isinstance(node, ast.LockStmt):
        return "LOCK TABLE in a file: write `-- lock: schema.table MODE` below the step's mark instead"
    if isinstance(node, ast.IndexStmt) and node.concurrent and not (node.idxname and _schema(node.relation)):
        return "CREATE INDEX CONCURRENTLY needs the index's name and the table's schema, so that a resumed run finds it"
    return None


def _validates(command: Any) -> bool:
    return bool(command.subtype == enums.AlterTableType.AT_ValidateConstraint)


def _only(nodes: Any) -> Any:
    return nodes[0]


def _schema(relation: Any) -> Any:
    return relation.schemaname


Direction = Literal["applied", "reverted"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a migration or revert file.

    :param line: of its mark in the file.
    :param sql: its whole text, marks and comments included.
    :param statements: the text of each statement, without its semicolon.
    :param data: it moves rows (revert files only), so an in-place restore skips it.
    :param sha256: over its tokens, without comments and white space.
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
    path: str = ""


def parse_file(path: str, *, backfill_function: str | None = None, direction: Direction = "applied") -> list[Step]:
    """Parse a migration file (or, with direction ``reverted``, a revert file) into its steps.

    :param backfill_function: ``schema.function`` of the plan's backfill, which the file must call.
    :raises RunbookError: with file and line of what a run could not do.
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
    """Parse the text of a file as parse_file does; errors name ``path``."""
    return list(_parse(text, path, backfill_function, direction))


# A call parses the same files several times: for drift, for the steps, for the ledger.
@functools.lru_cache(maxsize=100)
def _parse(text: str, path: str, backfill_function: str | None, direction: Direction) -> tuple[Step, ...]:
    statements = list(_statements(text, path))
    marks = list(find_marks(text, path))
    starts = [mark for mark in marks if mark[1] == "step"]
    if not starts:
        raise file_error(path, 1, "has no step: begin each step with a line", MARK_FORMS["step"])
    before_first = [place for place, _ in statements if place.start < starts[0][0]]
    if before_first:
        raise error_at(text, path, before_first[0].start, "statement before the first mark", MARK_FORMS["step"])
    if marks[0][1] != "step":
        raise error_at(text, path, marks[0][0], f"`-- {marks[0][1]}` before the first step", MARK_FORMS["step"])
    ends = [start for start, *_ in starts[1:]] + [len(text)]
    steps = []
    for number, ((start, _, name), end) in enumerate(zip(starts, ends, strict=True), 1):
        inside = [(place, node) for place, node in statements if start < place.start < end]
        options = [mark for mark in marks if start < mark[0] < end]
        steps.append(_step(text, path, number, (start, end, name), inside, options, backfill_function, direction))
    calls = [step for step in steps if step.kind == "backfill"]
    if backfill_function and len(calls) != 1:
        what = f"has {len(calls)} steps `SELECT {backfill_function}(NULL, NULL)`; the plan's backfill needs exactly one"
        raise file_error(path, calls[1].line if calls else 1, what)
    return tuple(steps)


def step_named(path: str, name: str) -> Step:
    """Return a migration file's step of this title.

    :raises RunbookError: the file has none.
    """
    for step in parse_file(path):
        if step.name == name:
            return step
    raise file_error(path, 1, f"has no step {name!r}, which plan.yml names")


def file_statements(steps: list[Step]) -> list[str]:
    """Return all statements in the file's order, as the ledger keeps them."""
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
            raise error_at(text, path, at, f"`-- {word}` must come between the step's mark and its statements")
        if word == "data" and direction == "applied":
            raise error_at(text, path, at, "`-- data` belongs to revert files only")
    locks = tuple(read_lock(path, line_of(text, at), value) for at, word, value in options if word == "lock")
    kinds = [kind_of(node, backfill_function) for _, node in inside]
    for (place, _), kind in zip(inside, kinds, strict=True):
        if kind in ("concurrently", "backfill") and len(inside) > 1:
            what = "a CONCURRENTLY (or VACUUM) statement" if kind == "concurrently" else "the backfill's call"
            raise error_at(text, path, place.start, f"{what} must be the only statement of its step ({name!r})")
    step_kind: Kind = kinds[0] if len(set(kinds)) == 1 else "transaction"
    if locks and step_kind != "transaction":
        raise file_error(path, line, f"`-- lock` in step {name!r}, which does not run in a transaction")
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
        path=path,
    )


def _statements(text: str, path: str) -> Iterator[tuple[slice, Any]]:
    """Yield each statement with its place in the text, without leading comments and semicolon."""
    try:
        nodes = pglast.parse_sql(text)
        places = pglast.split(text, only_slices=True)
    except pglast.parser.ParseError as error:
        at = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        raise error_at(text, path, at, f"not valid PostgreSQL: {error.args[0]}") from error
    yield from ((place, raw.stmt) for place, raw in zip(places, nodes, strict=True))
