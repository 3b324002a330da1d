"""The exception that modules fail with, and the conversion of driver errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psycopg2

from .visible import visible

LeftAs = Literal["unchanged", "resumable", "needs_rollback"]

#: SQLSTATE that a plan's revert raises where rows of other tables reference what it would delete or change. It promises
#: that the migration can be applied again from its first step, whatever the revert has done before.
ROWS_OF_OTHERS = "RB001"


class RunbookError(Exception):
    """A refusal or a failure that an operator can act on.

    :param msg: what failed, in one or two sentences.
    :param object_name: the table, file, server or option it failed on; empty if there is none.
    :param sqlstate: the server's five-character code; empty when the server did not refuse.
    :param left_as: the state things are in now.
    :param next_command: the command to run next; empty only if there is none.
    :param facts: further result keys for the caller (for example the findings that led here).
    """

    def __init__(
        self,
        msg: str,
        *,
        object_name: str = "",
        sqlstate: str = "",
        left_as: LeftAs = "unchanged",
        next_command: str = "",
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(msg)
        self.msg = msg
        self.object_name = object_name
        self.sqlstate = sqlstate
        self.left_as: LeftAs = left_as
        self.next_command = next_command
        self.facts = facts or {}


def from_driver(
    error: psycopg2.Error,
    doing: str,
    *,
    why: str = "",
    object_name: str = "",
    left_as: LeftAs = "unchanged",
    next_command: str = "",
) -> RunbookError:
    """Turn a psycopg2 error into a RunbookError that names the failed action.

    :param why: sentences that follow the server's words.

    The server's primary message, detail and hint are kept; they hold no connection secrets. They can contain values
    and names that anyone chose, so they are kept on one line.
    """
    diag = getattr(error, "diag", None)
    parts = [f"{doing}: {server_message(error)}"]
    parts += [
        f"{label}: {visible(text)}" for label in ("detail", "hint") if (text := getattr(diag, f"message_{label}", None))
    ]
    return RunbookError(
        f"{'. '.join(part.rstrip('.') for part in parts)}. {why}".rstrip(),
        object_name=object_name or getattr(diag, "table_name", None) or "",
        sqlstate=error.pgcode or "",
        left_as=left_as,
        next_command=next_command,
    )


def server_message(error: psycopg2.Error) -> str:
    """Return the server's primary message, or else the driver's whole text, on one line."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return visible((primary or str(error)).strip())


@contextmanager
def driver_errors(
    doing: str, *, object_name: str = "", left_as: LeftAs = "unchanged", next_command: str = ""
) -> Iterator[None]:
    """Turn psycopg2 errors of the block into RunbookError."""
    try:
        yield
    except psycopg2.Error as error:
        raise from_driver(error, doing, object_name=object_name, left_as=left_as, next_command=next_command) from error
