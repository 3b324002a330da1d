"""The work list: what was found as a CSV file, and the corrected file read back, each wrong row named."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql
from psycopg2.extras import execute_values

from ..errors import RunbookError, driver_errors
from ..private_files import replace_file
from ..session.connection import Cursor, identifier
from ..session.queries import read_query
from .find import Row

Line = tuple[int, dict[str, str]]
Wrong = list[tuple[int, str]]

WRONG_SHOWN = 50


def export(path: str, rows: Sequence[Row]) -> None:
    """Write the rows, mode 0600. NULL is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(list(rows[0]))
    writer.writerows(["" if value is None else str(value) for value in row.values()] for row in rows)
    replace_file(path, text.getvalue())


def read(path: str, columns: Sequence[str]) -> list[Line]:
    """Return the lines of a corrected list by number.

    :raises RunbookError: no such file, another header, or a line with too few or too many fields.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != list(columns):
                raise _refusal(path, [(1, f"the header is {','.join(header)}; it must be {','.join(columns)}")])
            lines, wrong = [], []
            for fields in reader:
                if len(fields) != len(columns):
                    wrong.append((reader.line_num, f"{len(fields)} fields; {len(columns)} are needed"))
                else:
                    lines.append((reader.line_num, dict(zip(columns, fields, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunbookError(
            f"the work list {path} cannot be read: {error}.", object_name=path, next_command=f"ls -l {path}"
        ) from error
    if wrong:
        raise _refusal(path, wrong)
    return lines


def apply(
    cursor: Cursor, path: str, lines: Sequence[Line], issue: Mapping[str, Any], remedy: Mapping[str, Any], key: str
) -> int:
    """Validate every line, then change the rows. Returns how many were changed. ``found`` holds what is wrong now.

    :raises RunbookError: the wrong lines, each with its number and reason; nothing was changed.
    """
    columns: Sequence[str] = remedy["work_list"]["columns"]
    cursor.execute("SELECT * FROM pg_temp.found LIMIT 0")
    names = [column.name for column in cursor.description or ()]
    cursor.execute(
        sql.SQL("CREATE TEMPORARY TABLE work_list (line integer, {}) ON COMMIT DROP").format(
            sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in names)
        )
    )
    execute_values(
        cursor,
        "INSERT INTO pg_temp.work_list VALUES %s",
        [(number, *(fields[name] or None for name in names)) for number, fields in lines],
    )
    cursor.execute("SELECT f.key, pg_catalog.to_jsonb(f) FROM pg_temp.found AS f")
    now = {row_key: _as_text(row) for row_key, row in cursor.fetchall()}
    wrong, done = _compare(lines, now, columns, _rows_now(cursor, issue["table"], key, lines))
    if done:
        cursor.execute("DELETE FROM pg_temp.work_list WHERE line = ANY (%s)", (done,))
    if not wrong:
        with driver_errors("the check of the work list", object_name=remedy["work_list"]["check"]):
            cursor.execute(read_query(remedy["work_list"]["check"]))
            wrong = [(line, reason) for line, reason in cursor.fetchall()]
    if wrong:
        raise _refusal(path, wrong)
    with driver_errors("the work list could not be applied", object_name=issue["table"]):
        cursor.execute(read_query(remedy["work_list"]["apply"]))
        row: Any = cursor.fetchone()
    return int(row[0])


def _compare(
    lines: Sequence[Line],
    now: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    rows: Mapping[str, Mapping[str, str]],
) -> tuple[Wrong, list[int]]:
    """Return the lines that do not fit what the database holds, and those that were applied before."""
    wrong: Wrong = []
    done: list[int] = []
    first: dict[str, int] = {}
    for number, fields in lines:
        key = fields["key"]
        if key in first:
            wrong.append((number, f"{key} is in line {first[key]} already"))
        elif key not in now:
            row = rows.get(key)
            if row is not None and all(row.get(name, "") == fields[name] for name in columns):
                done.append(number)
            else:
                wrong.append((number, f"{key} is not found any more: it was repaired or removed since"))
        else:
            for name, value in fields.items():
                if name not in columns and value != now[key].get(name, ""):
                    wrong.append(
                        (number, f"{name} is {value!r}, the database has {now[key].get(name, '')!r}: changed since")
                    )
                    break
        first.setdefault(key, number)
    return wrong, done


def _rows_now(cursor: Cursor, table: str, key: str, lines: Sequence[Line]) -> dict[str, dict[str, str]]:
    cursor.execute(
        sql.SQL("SELECT t.{key}::text, pg_catalog.to_jsonb(t) FROM {table} AS t WHERE t.{key}::text = ANY (%s)").format(
            key=sql.Identifier(key), table=identifier(table)
        ),
        ([fields["key"] for _, fields in lines],),
    )
    return {row_key: _as_text(row) for row_key, row in cursor.fetchall()}


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _refusal(path: str, wrong: Wrong) -> RunbookError:
    shown = "\n".join(f"  line {number}: {reason}" for number, reason in sorted(wrong)[:WRONG_SHOWN])
    more = f"\n  … and {len(wrong) - WRONG_SHOWN} more" if len(wrong) > WRONG_SHOWN else ""
    return RunbookError(
        f"{len(wrong)} lines of {path} are wrong, so none was applied:\n{shown}{more}\n",
        object_name=path,
        next_command="correct these lines, then the same command again",
        facts={"wrong_lines": [{"line": number, "reason": reason} for number, reason in sorted(wrong)]},
    )
