"""How findings are worded and ordered, and what the examinations decide without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.runbook.database.disk_space import free_bytes
from ansible.module_utils.runbook.environment.data import volume_class
from ansible.module_utils.runbook.environment.examine import facts_of, refuse_blocking
from ansible.module_utils.runbook.environment.objects import named_in
from ansible.module_utils.runbook.environment.server import examine_server, place_of
from ansible.module_utils.runbook.environment.view import View
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.verification.findings import Finding, to_text

NOTE = Finding("note", "information", "", "seen", "none")
STOP = Finding("stop", "blocking", "public.orders", "3 rows found", "they cannot move", "repair\nthem", [{"id": 1}], 3)


def test_blocking_findings_come_first_and_are_worded_whole() -> None:
    facts = facts_of([NOTE, STOP], {})
    assert [finding["name"] for finding in facts["findings"]] == ["stop", "note"]
    assert facts["msg"].splitlines() == [
        "2 findings, 1 blocking:",
        "1. [blocking] stop (public.orders): 3 rows found",
        "   why it hurts: they cannot move",
        "   what to do: repair",
        "     them",
        "   rows, 3 in all:",
        "     id=1",
        "     … and 2 more",
        "2. [information] note: seen",
        "   why it hurts: none",
    ]


def test_only_a_blocking_finding_is_refused() -> None:
    refuse_blocking(facts_of([NOTE], {}))
    with pytest.raises(RunbookError, match=r"\[blocking\] stop") as caught:
        refuse_blocking(facts_of([NOTE, STOP], {}))
    assert caught.value.facts["blocking"] == ["stop"]
    assert caught.value.object_name == "stop"


def test_no_more_than_twenty_rows_are_kept() -> None:
    plain = Finding("many", "warning", "", "f", "h", "", [{"id": number} for number in range(30)]).as_dict()
    assert (len(plain["rows"]), plain["rows_total"]) == (20, 30)


@pytest.mark.parametrize(("rows", "name"), [(0, "small"), (9, "small"), (10, "medium"), (99, "medium"), (100, "large")])
def test_a_number_of_rows_has_a_class(rows: int, name: str) -> None:
    classes = [{"name": "small", "below_rows": 10}, {"name": "medium", "below_rows": 100}, {"name": "large"}]
    assert volume_class(rows, classes) == name


def test_free_space_given_wins_over_free_space_seen() -> None:
    assert free_bytes({"free_disk_bytes": 7, "disk_path": "/"}) == (7, "as the inventory says")
    seen, how = free_bytes({"free_disk_bytes": None, "disk_path": "/"})
    assert seen is not None
    assert how == "of the disk that holds /"
    assert free_bytes({"free_disk_bytes": None, "disk_path": "/no/such/path"}) == (None, "")


def test_a_name_is_found_as_a_whole_word_only() -> None:
    assert named_in("orders_idx", "CREATE INDEX orders_idx ON")
    assert named_in("orders_idx", 'DROP INDEX public."orders_idx"')
    assert not named_in("orders_idx", "CREATE INDEX orders_idx_2 ON")


def test_a_replica_is_refused() -> None:
    plan: dict[str, Any] = {"requirements": {"server_versions": {"minimum": 15, "maximum": 18}}}
    server = {"is_replica": True, "major": 17, "version": "17.1", "database": "shop"}
    view = View(None, plan, {}, {}, {}, {}, facts={"server": server})  # type: ignore[arg-type]
    (finding,) = examine_server(view)
    assert (finding.name, finding.severity) == ("replica", "blocking")
    assert "primary" in finding.repair


def test_a_server_is_named_by_host_and_address() -> None:
    """A physical copy has the same system identifier."""
    by_name = SimpleNamespace(options={"host": "db.example.org"}, server={"address": "203.0.113.7", "port": 5432})
    assert place_of(by_name) == "the server db.example.org (address 203.0.113.7, port 5432)"
    by_socket = SimpleNamespace(options={"host": "/run/postgresql"}, server={"address": "", "port": 5433})
    assert place_of(by_socket) == "the server of socket directory /run/postgresql, port 5433"


def test_a_long_value_is_cut_where_it_is_shown() -> None:
    """Three values of three megabytes made 72 MB of screen, and as much in each report."""
    finding = Finding("dirty", "blocking", "posts", "1 row found", "it hurts", rows=[{"name": "x" * 3_000_000}])
    for text in (to_text([finding]), str(finding.as_dict()), to_text([Finding(**finding.as_dict())])):
        assert f"{'x' * 500}… (3000000 characters)" in text
        assert len(text) < 1000
