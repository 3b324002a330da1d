"""Trial files: what is read, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.verification.trials.code_scan import scan
from ansible.module_utils.runbook.verification.trials.trial import fill, is_valid, read_trial

GOOD = """\
-- A trial; a comment that is no mark.

-- pick: an order
SELECT id AS order_id FROM shop.orders LIMIT 1 FOR UPDATE SKIP LOCKED;

-- expect: at least 2 rows
-- and why
UPDATE shop.lines SET note = '50% off' WHERE order_id = %(order_id)s;
-- effect: it is there
SELECT true AS it_is FROM shop.lines WHERE note LIKE '50%' AND order_id = %(order_id)s
"""


def test_a_file_is_read_into_its_statements(tmp_path: Path) -> None:
    path = tmp_path / "good.sql"
    path.write_text(GOOD)
    pick, update, effect = read_trial(str(path)).statements
    assert [statement.kind for statement in (pick, update, effect)] == ["pick", "expect", "effect"]
    assert (pick.what, effect.what) == ("an order", "it is there")
    assert (update.least, update.most, update.line) == (2, None, 8)
    assert update.text == "UPDATE shop.lines SET note = '50% off' WHERE order_id = %(order_id)s"
    assert update.for_driver().endswith("SET note = '50%% off' WHERE order_id = %(order_id)s")
    assert effect.text.endswith("AND order_id = %(order_id)s")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-- pick: an order\n", "", ":3: the statement has no mark"),
        ("-- and why", "-- expect: 1 row", ":8: the statement has 2 marks"),
        ("at least 2 rows", "some rows", ":8: cannot read 'some rows' as a number of rows"),
        ("UPDATE shop.lines SET note = '50% off' WHERE order_id = %(order_id)s", "COMMIT", ":8: the runner controls"),
        ("UPDATE shop.lines SET note", "UPDATE shop.lines note", ":8: not valid PostgreSQL"),
        ("-- effect: it is there", "-- expect: 1 row", ":1: no query that asserts the effect"),
        (GOOD[GOOD.index("-- expect") : GOOD.index("-- effect")], "", ":1: no statement of the application"),
        ("SELECT id AS order_id FROM shop.orders LIMIT 1 FOR UPDATE SKIP LOCKED", "DELETE FROM shop.orders",
         ":4: `-- pick` needs a SELECT"),
        ("SELECT true AS it_is", "SELECT 1;\n-- pick: late\nSELECT true AS it_is",
         ":12: `-- pick` after `-- effect`: the order is"),
    ],
)  # fmt: skip
def test_what_a_trial_cannot_do_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = tmp_path / "bad.sql"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(RunbookError, match=r"bad\.sql:\d+: ") as caught:
        read_trial(str(path))
    assert message in caught.value.msg
    assert caught.value.next_command == f"edit {path}"


def test_parameters_of_a_setting_are_filled() -> None:
    assert fill('{"sub": "%(user_id)s", "rate": "5%"}', {"user_id": 7}) == '{"sub": "7", "rate": "5%"}'


PLAN = {"new_application_after": "3", "migrations": [{"version": version} for version in "1234"]}


@pytest.mark.parametrize(
    ("entry", "applied", "retired", "valid"),
    [
        ({"by": "old"}, "", False, True),
        ({"by": "old"}, "1234", False, True),
        ({"by": "old"}, "1234", True, False),
        ({"by": "old", "valid_until": "2"}, "1", False, True),
        ({"by": "old", "valid_until": "2"}, "12", False, False),
        ({"by": "old", "valid_from": "2"}, "1", False, False),
        ({"by": "new"}, "12", False, False),
        ({"by": "new"}, "123", True, True),
        ({"by": "new", "valid_from": "1"}, "1", False, True),
    ],
)
def test_when_a_trial_is_valid(entry: dict[str, str], applied: str, retired: bool, valid: bool) -> None:
    assert is_valid(PLAN, entry, set(applied), retired=retired) is valid


def test_what_a_text_names() -> None:
    found = scan('WITH x AS (DELETE FROM ONLY "A b".c RETURNING 1) INSERT INTO d SELECT s.f(1) FROM "T"')
    assert found.writes == {"A b.c", "d"}
    assert {"s.f"} <= found.calls
    assert (found.outside, found.unknown_writes) == ("", False)
    assert scan("EXECUTE format('UPDATE %I SET a = 1', t)").unknown_writes
    for text in (
        "COPY t TO PROGRAM 'x'",
        "PERFORM dblink_exec('x')",
        "q := 'SELECT net.http_get(1)'",
        "lo_export(1, 'x')",
    ):
        assert scan(text).outside, text
    assert scan("SELECT uuid_generate_v4(), https, my_http_code FROM t").outside == ""
