"""What the server answers to the queries of checks: each text asked once, several at a time, all of one instant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import psycopg2

from ..errors import from_driver
from ..session.connection import Cursor, Stopwatch
from ..session.queries import ROWS_SHOWN, first_rows, one_row, rows_shown
from ..session.readers import Readers


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one query gave.

    :param row: the row of a check; empty where there is an error.
    :param rows: the first offending rows, and ``total``: how many there are.
    :param error: what the server, or the shape of the result, refused; empty otherwise.
    """

    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    total: int = 0
    error: str = ""
    sqlstate: str = ""
    seconds: float = 0.0


def rows_of_checks(readers: Readers, texts: Iterable[str]) -> dict[str, Answer]:
    """Ask for the one row of each check's query. Checks that share a query share its answer."""

    def ask(cursor: Cursor, text: str) -> Answer:
        return Answer(row=one_row(cursor, text))

    return _ask_each(readers, ask, texts)


def offending_rows(readers: Readers, texts: Iterable[str]) -> dict[str, Answer]:
    """Ask for the first rows of each query for offenders."""

    def ask(cursor: Cursor, text: str) -> Answer:
        rows, total = first_rows(cursor, text, ROWS_SHOWN)
        return Answer(rows=rows_shown(rows), total=total)

    return _ask_each(readers, ask, texts)


def _ask_each(readers: Readers, ask: Callable[[Cursor, str], Answer], texts: Iterable[str]) -> dict[str, Answer]:
    def careful(cursor: Cursor, text: str) -> Answer:
        """Turn a refusal into an answer; a lost connection fails the whole call."""
        watch = Stopwatch()
        try:
            found = ask(cursor, text)
        except psycopg2.Error as error:
            if cursor.connection.closed:
                raise
            refused = from_driver(error, "the server refused the query")
            found = Answer(error=refused.msg, sqlstate=refused.sqlstate)
        except ValueError as error:
            found = Answer(error=str(error))
        return dataclasses.replace(found, seconds=watch.seconds())

    once = list(dict.fromkeys(texts))
    return dict(zip(once, readers.map(careful, once), strict=True))
