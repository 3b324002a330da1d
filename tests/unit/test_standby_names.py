"""synchronous_standby_names as the server reads it, and the connected standbys that satisfy it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.runbook.database.standbys import Standbys, parse_standby_names, targets_of


@pytest.mark.parametrize(
    ("text", "count", "names"),
    [
        ("s1", 1, ("s1",)),
        ("s1, s2", 1, ("s1", "s2")),
        ("2 (s1, s2 ,s3)", 2, ("s1", "s2", "s3")),
        ("FIRST 2 (s1, s2, s3)", 2, ("s1", "s2", "s3")),
        ("first 1(s1)", 1, ("s1",)),
        ("ANY 2 (s1, s2, s3)", 2, ("s1", "s2", "s3")),
        ("any 1 (*)", 1, ("*",)),
        ("*", 1, ("*",)),
        ('"Zone A", "with ""quotes"", (and) marks"', 1, ("Zone A", 'with "quotes", (and) marks')),
        ('ANY 1 ("first", "any")', 1, ("first", "any")),
        ("first", 1, ("first",)),
        ("  s1  ", 1, ("s1",)),
        ("größe$1", 1, ("größe$1",)),
    ],
)
def test_names_are_read_as_the_server_reads_them(text: str, count: int, names: tuple[str, ...]) -> None:
    wanted = parse_standby_names(text)
    assert wanted is not None
    assert (wanted.count, wanted.names) == (count, names)


def test_no_names_ask_for_no_standby() -> None:
    assert parse_standby_names("") is None
    assert parse_standby_names("  ") is None


@pytest.mark.parametrize("text", ["2 (", "(a)", "a b", "a,", ",", "FIRST 2 (a", "ANY 1 ()", "a-b", '"open'])
def test_what_the_server_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_standby_names(text)


def standbys(names: str, *senders: tuple[str, str], commits: str = "on", readable: bool = True) -> Standbys:
    rows: list[dict[str, Any]] = [
        {"pid": number, "name": name, "state": state, "sync_state": ""} for number, (name, state) in enumerate(senders)
    ]
    return Standbys(names, commits, parse_standby_names(names), readable, tuple(rows))


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (standbys("gone"), True),
        (standbys("gone", ("other", "streaming")), True),
        (standbys("s1", ("S1", "streaming")), False),
        (standbys("s1", ("s1", "catchup")), True),
        (standbys("s1", ("s1", "backup")), True),
        (standbys("s1, s2", ("s2", "streaming")), False),
        (standbys("FIRST 2 (s1, s2, s3)", ("s3", "streaming")), True),
        (standbys("FIRST 2 (s1, s2, s3)", ("s3", "streaming"), ("s1", "streaming")), False),
        (standbys("ANY 2 (s1, s2, s3)", ("s1", "streaming"), ("other", "streaming")), True),
        (standbys("ANY 2 (*)", ("a", "streaming"), ("b", "streaming")), False),
        (standbys("2 (s1)", ("s1", "streaming"), ("s1", "streaming")), False),
        (standbys("gone", commits="local"), False),
        (standbys("gone", commits="off"), False),
        (standbys("gone", commits="remote_apply"), True),
        (standbys("gone", commits="remote_write"), True),
        (standbys("gone", readable=False), True),
        (standbys("gone", ("", ""), readable=False), False),
        (standbys("2 (*)", ("", ""), readable=False), True),
    ],
)
def test_a_commit_would_wait_where_too_few_of_the_named_stream(found: Standbys, *, missing: bool) -> None:
    assert found.missing is missing


def test_standbys_are_described() -> None:
    assert standbys("gone").to_text() == "synchronous_standby_names = 'gone' asks for 1 standby; none is connected"
    assert "0 can confirm. Connected: s1 (catchup)" in standbys("s1", ("s1", "catchup")).to_text()
    assert "may not read" in standbys("s1", ("", ""), readable=False).to_text()


@pytest.mark.parametrize(
    ("statements", "targets"),
    [
        (["BEGIN", "INSERT INTO a.b (c) VALUES (1)", "COMMIT"], ["a.b"]),
        (["UPDATE only_one SET x = 1", 'DELETE FROM ONLY "A b"."C"'], ["only_one", '"A b"."C"']),
        (["CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx ON a.b (c)"], ["idx"]),
        (["ALTER TABLE IF EXISTS a.b ADD c int"], ["a.b"]),
        (["VACUUM (ANALYZE) a.b"], ["a.b"]),
        (["INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1"], ["t"]),
        (["SELECT 1 FROM t FOR UPDATE OF t"], []),
    ],
)
def test_what_a_transaction_wrote_to_is_named(statements: list[str], targets: list[str]) -> None:
    assert targets_of(None, statements) == targets
