"""Write the rows of an issue as a CSV work list; validate and apply the corrected list."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql
from psycopg2.extras import execute_values

from ..database.connection import Cursor, identifier, rows_as_dicts
from ..database.queries import read_query, value
from ..database.values import as_text
from ..errors import RunbookError, driver_errors
from ..private_files import replace_file
from ..visible import visible
from . import cells
from .find import Row

Fields = dict[str, str | None]
Line = tuple[int, Fields]
Wrong = list[tuple[int, str]]

WRONG_SHOWN = 50

#: Characters of a cell: more than a value of the server can have.
LONGEST_FIELD = 1 << 31


def export(path: str, rows: Sequence[Row]) -> None:
    """Write the rows to a file with mode 0600; ``cells`` describes how values are escaped."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([cells.written(name) for name in rows[0]])
    writer.writerows([cells.written(_text(value)) for value in row.values()] for row in rows)
    replace_file(path, text.getvalue())


def read(path: str, columns: Sequence[str]) -> list[Line]:
    """Return the lines of a corrected list with their line numbers.

    :raises RunbookError: the file cannot be read, its header differs, or a line has too few or too many fields.
    """
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=_separator(file, columns))
            header = [cells.read(cell) for cell in next(reader, [])]
            if header != list(columns):
                found = ",".join(name or "" for name in header)
                raise _refusal(path, [(1, f"the header is {visible(found)}; it must be {','.join(columns)}")])
            lines: list[Line] = []
            wrong: Wrong = []
            for fields in reader:
                if not any(fields):
                    continue  # spreadsheets append empty lines
                if len(fields) != len(columns):
                    wrong.append((reader.line_num, f"it has {len(fields)} fields; it must have {len(columns)}"))
                else:
                    lines.append((reader.line_num, dict(zip(columns, map(cells.read, fields), strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunbookError(
            f"the work list {path} cannot be read: {visible(error)}.", object_name=path, next_command=f"ls -l {path}"
        ) from error
    if wrong:
        raise _refusal(path, wrong)
    return lines


def apply(
    cursor: Cursor, path: str, lines: Sequence[Line], issue: Mapping[str, Any], remedy: Mapping[str, Any], key: str
) -> int:
    """Validate every line, change the rows and return their number. ``pg_temp.found`` contains the issue's rows now.

    :raises RunbookError: lines are wrong; the error lists them with number and reason. Nothing was changed.
    """
    columns: Sequence[str] = remedy["work_list"]["columns"]
    with as_text(cursor.connection) as reader:
        reader.execute("SELECT * FROM pg_temp.found")
        names = [column.name for column in reader.description or ()]
        now = {str(row["key"]): _fields(row) for row in rows_as_dicts(reader)}
    lines = [(number, _with_empty_texts(fields, now.get(fields["key"] or "", {}))) for number, fields in lines]
    cursor.execute(
        sql.SQL("CREATE TEMPORARY TABLE work_list (line integer, {}) ON COMMIT DROP").format(
            sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in names)
        )
    )
    execute_values(
        cursor,
        "INSERT INTO pg_temp.work_list VALUES %s",
        [(number, *(fields[name] for name in names)) for number, fields in lines],
    )
    wrong, done = _compare(lines, now, columns, _rows_now(cursor, issue["table"], key, lines))
    if done:
        cursor.execute("DELETE FROM pg_temp.work_list WHERE line = ANY (%s)", (done,))
    if not wrong:
        with driver_errors("the check of the work list", object_name=remedy["work_list"]["check"]):
            cursor.execute(read_query(remedy["work_list"]["check"]))
            wrong = [(line, visible(reason)) for line, reason in cursor.fetchall()]
    if wrong:
        raise _refusal(path, wrong)
    with driver_errors("the work list could not be applied", object_name=issue["table"]):
        return int(value(cursor, read_query(remedy["work_list"]["apply"])))


def _compare(
    lines: Sequence[Line], now: Mapping[str, Fields], columns: Sequence[str], rows: Mapping[str, Fields]
) -> tuple[Wrong, list[int]]:
    """Return the lines that contradict the database, and the numbers of those that were applied before."""
    wrong: Wrong = []
    done: list[int] = []
    first: dict[str, int] = {}
    for number, fields in lines:
        key = fields["key"] or ""
        shown = visible(key)
        if key in first:
            wrong.append((number, f"{shown} is already in line {first[key]}"))
        elif key not in now:
            row = rows.get(key)
            if row is not None and all((row.get(name) or None) == (fields[name] or None) for name in columns):
                done.append(number)
            else:
                wrong.append((number, f"{shown} is no longer found: it has been repaired or removed since"))
        else:
            for name, text in fields.items():
                if name not in columns and text != (current := now[key].get(name)):
                    database_has = f"the database has {_quoted(current)}: changed since"
                    wrong.append((number, f"{name} is {_quoted(text)}, {database_has}"))
                    break
        first.setdefault(key, number)
    return wrong, done


def _rows_now(cursor: Cursor, table: str, key: str, lines: Sequence[Line]) -> dict[str, Fields]:
    with as_text(cursor.connection) as reader:
        reader.execute(
            sql.SQL('SELECT t.{key}::text, t.* FROM {table} AS t WHERE t.{key}::text COLLATE "C" = ANY (%s)').format(
                key=sql.Identifier(key), table=identifier(table)
            ),
            ([fields["key"] for _, fields in lines],),
        )
        names = [column.name for column in reader.description or ()][1:]
        return {str(row[0]): _fields(dict(zip(names, row[1:], strict=True))) for row in reader.fetchall()}


def _separator(file: io.TextIOBase, columns: Sequence[str]) -> str:
    """Return the separator of the cells: a spreadsheet uses the one of its locale."""
    first = file.readline()
    file.seek(0)
    header = [cells.written(name) for name in columns]
    return next((mark for mark in (",", ";", "\t") if next(csv.reader([first], delimiter=mark), []) == header), ",")


def _with_empty_texts(fields: Fields, current: Fields) -> Fields:
    """Return the fields, with an empty text instead of None where the database has one."""
    return {name: "" if text is None and current.get(name) == "" else text for name, text in fields.items()}


def _fields(row: Mapping[str, Any]) -> Fields:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str | None:
    """Return a value of ``as_text`` as text."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str | None) -> str:
    return "NULL" if text is None else f"'{visible(text)}'"


def _refusal(path: str, wrong: Wrong) -> RunbookError:
    shown = "\n".join(f"  line {number}: {reason}" for number, reason in sorted(wrong)[:WRONG_SHOWN])
    more = f"\n  … and {len(wrong) - WRONG_SHOWN} more" if len(wrong) > WRONG_SHOWN else ""
    return RunbookError(
        f"{len(wrong)} lines of {path} are wrong, so none was applied:\n{shown}{more}\n",
        object_name=path,
        next_command="correct these lines, then run the same command again",
        facts={"wrong_lines": [{"line": number, "reason": reason} for number, reason in sorted(wrong)]},
    )
