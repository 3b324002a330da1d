# ruff: noqa: RUF001
"""Text from a server is safe to print, and a spreadsheet or Markdown executes none of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from ansible.module_utils.runbook import visible as visibility
from ansible.module_utils.runbook.backup.tools import why
from ansible.module_utils.runbook.database.queries import rows_to_text
from ansible.module_utils.runbook.plain import to_plain
from ansible.module_utils.runbook.repair import cells, work_list
from ansible.module_utils.runbook.report import markdown
from ansible.module_utils.runbook.visible import printable, remember, visible, visible_lines

ESC, BEL, RLO = "\x1b", "\x07", "\u202e"
HOSTILE = [
    f"{ESC}[2J{ESC}]0;title{BEL}", f"{ESC}]52;c;cm0gLXJmIH4={BEL}", "song.mp3\nPLAY RECAP ****\nok=1", "a\rb", "a\tb",
    "\x9b31m", "\x7f", f"{RLO}gpj.exe", "\u2066a\u2069", "\u061cx", "a\u200bb", "\ufeffa", "a\u2028b\u2029c", "\udc80",
    "\U000e0041", "\x85next", "\x00",
]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "_MEMORY", visibility._Memory())


@pytest.mark.parametrize("value", HOSTILE)
def test_nothing_hidden_is_left_of_a_value(value: str) -> None:
    shown = visible(value)
    assert shown.isprintable()
    assert "\\" in shown
    assert not visibility.HIDDEN.search(rows_to_text([{"name": value, value: 1}], 1))


def test_text_of_any_language_stays_as_it_is() -> None:
    for text in ("Größe", "東京 – Ångström", "שלום", "C:\\music\\new", "naïve café ✓", "👍"):
        assert visible(text) == text


def test_a_message_keeps_its_own_lines_and_loses_those_of_a_value() -> None:
    name = remember("x\nPLAY RECAP ***\n\x1b[1A")
    message = f"2 rows are wrong:\n  {name}\nNext: migrate.yml"
    assert printable(message) == "2 rows are wrong:\n  x\\nPLAY RECAP ***\\n\\x1b[1A\nNext: migrate.yml"
    assert printable({"msg": [name], name: 1}) == {"msg": [visible(name)], visible(name): 1}
    assert visible_lines("a\nb\rc") == "a\nb\\rc"


def test_a_value_that_was_stripped_on_its_way_is_found_too() -> None:
    name = remember("\n x\nNext: rm\n")
    assert printable(f"found {name.strip()}.") == "found x\\nNext: rm."


def test_too_many_values_to_remember_cost_every_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "MOST_REMEMBERED", 2)
    for number in range(4):
        remember(f"{number}\nNext: rm")
    assert "\n" not in printable("wrong:\n3\nNext: rm")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>x</script>", "\\<script>x\\</script>"), ("[a](http://x)", "\\[a\\](http://x)"), ("a|b", "a\\|b"),
        ("`code`", "\\`code\\`"), ("![i](x)", "!\\[i\\](x)"),
        ("**b** _i_ ~~s~~", "\\*\\*b\\*\\* \\_i\\_ \\~\\~s\\~\\~"),
        ("&#8238;x & y", "\\&#8238;x & y"), ("\\[a](x)", "\\\\\\[a\\](x)"), ("snake_case_name", "snake_case_name"),
        ("C:\\temp", "C:\\temp"), ("\x1b[1m", "\\x1b\\[1m"), (None, "None"), (3, "3"),
    ],
)  # fmt: skip
def test_markdown_makes_nothing_of_a_value(value: object, shown: str) -> None:
    assert markdown.text(value) == shown


def test_code_in_markdown_cannot_be_left() -> None:
    assert markdown.code("a`b") == "``a`b``"
    assert markdown.code("`") == "`` ` ``"
    assert markdown.code("a|b\nc") == "`a\\|b\\nc`"
    assert markdown.block("```\nx") == "````\n```\nx\n````"
    assert markdown.text(markdown.code("<b>")) == "`<b>`"
    assert markdown.pairs({"a": "<b>\n", "c": 1}) == "a = \\<b>\\n, c = 1"


FORMULAS = [
    "=HYPERLINK(\"http://x\")", "@SUM(1)", "+1+1", "-1+1", " =1", "\t=1", "\r=1", "\n=1", "\"=1", "'=1", "＝1", "＋1",
    "－1", "＠x", "﹦1", "\u00a0=1", "a;=1", "a,\t=1", "−1", "=cmd|' /C calc'!A0",
]  # fmt: skip
OTHERS = [
    "'", "''", "'tis", "\\", "\\n", "'\\n", "a\\b", "=\\x3d", "plain", "a\nb", "a\r\nb", "\ufeffa", "\x1b]52;c\x07",
    'say "hi", she', "x" * 200_000, "\udc80", "'=\n\\", " lead", "trail ", "1,5;2", "\U000e0041",
]  # fmt: skip


@pytest.mark.parametrize("value", [*FORMULAS, *OTHERS, *HOSTILE, None])
def test_a_cell_is_read_back_unchanged(value: str | None) -> None:
    cell = cells.written(value)
    assert cells.read(cell) == value
    assert not visibility.HIDDEN.search(cell)


@pytest.mark.parametrize("value", FORMULAS)
def test_no_cell_begins_a_formula(value: str) -> None:
    cell = cells.written(value)
    assert cell.startswith("'")
    assert not any(part.strip().lstrip("\"'").startswith(tuple("=+-@＝＋－＠")) for part in cell.split(";")[1:])


def test_an_empty_cell_is_nothing_or_an_empty_text_and_blanks_stay_blank() -> None:
    assert (cells.written(None), cells.written(""), cells.written(" \t ")) == ("", "", " \t ")
    assert (cells.read(""), cells.read("'"), cells.read(" \t ")) == (None, "", " \t ")


def test_what_a_person_types_stays_what_it_is() -> None:
    for typed in ("'tis the season", "'\\q", "it's", "C:\\new"):
        assert cells.read(typed) == typed


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_saved_by_a_spreadsheet_is_read(tmp_path: Path, line_end: str, separator: str) -> None:
    path = tmp_path / "list.csv"
    rows = [{"key": str(number), "reason": value} for number, value in enumerate([*FORMULAS, *OTHERS, *HOSTILE, None])]
    work_list.export(str(path), rows)
    csv.field_size_limit(1 << 31)
    with open(path, encoding="utf-8", newline="") as file:
        fields = list(csv.reader(file))
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(fields)
        file.write(separator + line_end)  # an empty line at the end
    assert [fields for _, fields in work_list.read(str(path), ["key", "reason"])] == rows


def test_numbers_that_json_lacks_and_long_ones_become_text() -> None:
    from decimal import Decimal

    numbers = ["NaN", "Infinity", "-Infinity", "1.00", "0.5", "33.3333333333333333", "1e-30", "9" * 40, "1e400", "-0"]
    assert [to_plain(Decimal(number)) for number in numbers] == [
        "NaN", "Infinity", "-Infinity", 1, 0.5, "33.3333333333333333", "0." + "0" * 29 + "1", "9" * 40, "1" + "0" * 400,
        0,
    ]  # fmt: skip
    assert [to_plain(float(number)) for number in ("nan", "inf", "-inf", "1.5")] == [
        "NaN",
        "Infinity",
        "-Infinity",
        1.5,
    ]


def test_a_tools_own_errors_come_first() -> None:
    said = "\n".join(
        [
            "pg_restore: error: could not execute query: ERROR:  function extensions.f() does not exist",
            "LINE 1: CREATE TABLE x", "                 ^", "HINT:  No function matches.",
            "Command was: CREATE TABLE public.notes (", *(f"    column_{number} text," for number in range(30)), ");",
            "pg_restore: warning: errors ignored on restore: 1",
        ]
    )  # fmt: skip
    assert why(said) == (
        "pg_restore: error: could not execute query: ERROR:  function extensions.f() does not exist; "
        "HINT:  No function matches."
    )
    assert why("one\ntwo \x1b[1m") == "one; two \\x1b[1m"
    assert why("") == "it printed nothing"
