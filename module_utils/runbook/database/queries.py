"""Run a plan's queries: text from files, one row, or the first rows and their number."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg2 import sql

from ..errors import RunbookError
from ..plain import to_plain
from ..visible import visible
from .connection import Cursor, rows_as_dicts
from .values import NUMBERS, as_text

ROWS_SHOWN = 20
#: Characters of a value that a result, a screen or a report shows. A work list has every value whole.
VALUE_SHOWN = 500


def read_query(path: str) -> str:
    """Return the text of a query file.

    :raises RunbookError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        raise RunbookError(
            f"the query file {path} cannot be read: {error.strerror}.", object_name=path, next_command=f"ls -l {path}"
        ) from error


def row(cursor: Cursor, query: str | sql.Composable, parameters: Any = None) -> tuple[Any, ...] | None:
    """Execute a query and return its first row, or None without one."""
    cursor.execute(query, parameters)
    found: tuple[Any, ...] | None = cursor.fetchone()
    return found


def value(cursor: Cursor, query: str | sql.Composable, parameters: Any = None, default: Any = None) -> Any:
    """Execute a query and return the first column of its first row, or the default without a row."""
    found = row(cursor, query, parameters)
    return default if found is None else found[0]


@contextmanager
def savepoint(cursor: Cursor) -> Iterator[None]:
    """Keep a transaction usable if the statements inside fail; their settings are undone in any case."""
    cursor.execute("SAVEPOINT runbook_query")
    try:
        yield
    finally:
        if cursor.connection.closed == 0:
            cursor.execute("ROLLBACK TO SAVEPOINT runbook_query")
            cursor.execute("RELEASE SAVEPOINT runbook_query")


def one_row(cursor: Cursor, text: str) -> dict[str, Any]:
    """Return the single row of a query as plain values: numbers and booleans, and the server's text of all others.

    :raises ValueError: the query returns no row, or more than one.
    """
    with as_text(cursor.connection, NUMBERS) as reader:
        reader.execute(text)
        if reader.description is None or reader.rowcount != 1:
            found = "nothing" if reader.description is None else f"{reader.rowcount} rows"
            raise ValueError(f"the query must return exactly one row; it returned {found}")
        names = [column.name for column in reader.description]
        if len(set(names)) < len(names):
            raise ValueError(f"the query must return each column under a distinct name; it returned {', '.join(names)}")
        row: dict[str, Any] = to_plain(rows_as_dicts(reader)[0])
    return row


def first_rows(cursor: Cursor, text: str, limit: int = ROWS_SHOWN) -> tuple[list[dict[str, Any]], int]:
    """Return the first rows of a query, values as the server's text, and the number of all its rows.

    The server reads all rows; only the first ones are sent. Needs an open transaction.
    """
    # All rows are read, so a plan that returns the first ones fast would be wrong.
    cursor.execute("SELECT set_config('cursor_tuple_fraction', '1', true)")
    cursor.execute(sql.SQL("DECLARE runbook_rows NO SCROLL CURSOR FOR {}").format(sql.SQL(text)))
    with as_text(cursor.connection) as reader:
        reader.execute("FETCH FORWARD %s FROM runbook_rows", (limit,))
        rows: list[dict[str, Any]] = to_plain(rows_as_dicts(reader))
    cursor.execute("MOVE FORWARD ALL FROM runbook_rows")
    total = len(rows) + cursor.rowcount
    cursor.execute("CLOSE runbook_rows")
    return rows, total


def shown(value: Any) -> Any:
    """Return a value for display: the beginning of a long text, and its length."""
    # A text that was cut before is slightly longer.
    if not isinstance(value, str) or len(value) <= VALUE_SHOWN + 50:
        return value
    return f"{value[:VALUE_SHOWN]}… ({len(value)} characters)"


def rows_shown(rows: Iterable[Mapping[str, Any]], limit: int = ROWS_SHOWN) -> list[dict[str, Any]]:
    """Return the first rows as they are shown."""
    return [{name: shown(value) for name, value in row.items()} for row in itertools.islice(rows, limit)]


def rows_to_text(rows: list[dict[str, Any]], total: int) -> str:
    """Return rows as lines for a message, with the number of rows that are not shown."""
    pairs = [[f"{visible(name)}={visible(shown(value))}" for name, value in row.items()] for row in rows]
    lines = [f"  {', '.join(texts)}" for texts in pairs]
    if total > len(rows):
        lines.append(f"  … and {total - len(rows)} more")
    return "\n".join(lines)
