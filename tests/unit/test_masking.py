"""Secrets are hidden by the name of their option: a password that is a word of the result changes nothing in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.runbook.masking import is_distinctive, shown, without, without_any
from ansible.module_utils.runbook.module import connection_argument, run
from ansible.module_utils.testing import patch_module_args

WORDS = [
    "postgres",
    "public",
    "tracks",
    "staging",
    "true",
    "complete",
    "1",
    "0",
    "a",
    "e",
    "artifacts",
    "None",
    "false",
]
TOKEN = "canary-7f3a91c2-Zq"

RESULT = {
    "changed": True,
    "msg": "run complete: 1 migration of public.tracks in staging",
    "directory": "artifacts/staging/staging_database/20250122T101500Z-3f9a1c",
    "tables": ["public.tracks", "public.posts"],
    "rows": {"public.tracks": 101},
    "system_identifier": "7381546216742381653",
    "seconds": 1.01,
    "nothing": None,
}

SPEC = {
    "connection": connection_argument(),
    "headers": {"type": "dict", "default": {}, "no_log": True},
    "url": {"type": "str", "default": "", "no_log": True},
    "count": {"type": "int"},
}


def printed(capsys: pytest.CaptureFixture[str], result: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Run a module of this spec to its end and return what it prints for Ansible."""

    def work(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        return dict(result)

    with patch_module_args(params), pytest.raises(SystemExit):
        run(SPEC, work)
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return loaded


def connection(password: str) -> dict[str, Any]:
    return {"host": "db.example.org", "user": "postgres", "password": password}


@pytest.mark.parametrize("word", WORDS)
def test_a_password_that_is_a_word_leaves_the_result_as_it_is(capsys: pytest.CaptureFixture[str], word: str) -> None:
    found = printed(capsys, RESULT, connection=connection(word))
    assert {name: found[name] for name in RESULT} == RESULT
    arguments = found["invocation"]["module_args"]
    assert arguments["connection"]["password"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert arguments["connection"]["user"] == "postgres"


@pytest.mark.parametrize("word", ["true", "1", "public", "application/json", "http://127.0.0.1/stop"])
def test_headers_and_addresses_that_are_words_leave_it_too(capsys: pytest.CaptureFixture[str], word: str) -> None:
    found = printed(capsys, RESULT, connection=connection(""), headers={"X-Any": word}, url=word)
    assert {name: found[name] for name in RESULT} == RESULT
    assert found["invocation"]["module_args"]["headers"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert found["invocation"]["module_args"]["url"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def test_a_password_that_looks_like_one_is_masked_wherever_it_occurs(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, {"msg": f"it was {TOKEN}", "rows": [TOKEN]}, connection=connection(TOKEN))
    assert TOKEN not in json.dumps(found)
    assert found["msg"] == "it was ********"


def test_a_password_that_is_part_of_another_option_is_not_masked_by_its_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {**connection("staging-2024-database"), "dbname": "staging-2024-database"}
    found = printed(capsys, {"msg": "in staging-2024-database"}, connection=options)
    assert found["msg"] == "in staging-2024-database"


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"connection": {"host": "db", "pasword": TOKEN}}, "pasword"),
        ({"connection": f"postgres://me:{TOKEN}@db/shop"}, "dictionary requested"),
        ({"connection": {"host": "db", "port": "none", "password": TOKEN}}, "port"),
        ({"connection": {"host": "db", "password": TOKEN}, "count": "many"}, "count"),
        ({"connection": {"host": "db", "password": TOKEN}, "secret": TOKEN}, "secret"),
    ],
)
def test_options_that_are_refused_print_no_secret(
    capsys: pytest.CaptureFixture[str], params: dict[str, Any], told: str
) -> None:
    found = printed(capsys, RESULT, **params)
    assert found["failed"]
    assert told in found["msg"]
    assert TOKEN not in json.dumps(found)


def test_options_are_shown_by_their_names() -> None:
    spec = {"a": {"type": "str"}, "list": {"type": "list", "options": {"b": {"no_log": True}, "c": {}}}}
    assert shown({"a": "x", "list": [{"b": "x", "c": "x"}], "unknown": "x"}, spec) == {
        "a": "x",
        "list": [{"b": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", "c": "x"}],
        "unknown": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER",
    }


@pytest.mark.parametrize("word", [*WORDS, "supabase_admin", "migration_runbook", "production_database"])
def test_words_are_not_taken_out_of_messages(word: str) -> None:
    assert not is_distinctive(word)
    assert without(f"role {word} does not exist", [word, None, ""]) == f"role {word} does not exist"


def test_tokens_are_taken_out_of_messages_and_parts_of_addresses_out_of_output() -> None:
    assert without(f"no {TOKEN}!", [TOKEN]) == "no ********!"
    assert without("no correct-horse-battery!", ["correct-horse-battery"]) == "no ********!"
    said = without_any("got s3cr3t and abc for 1", ["https://h/stop?key=s3cr3t&n=abc", "1"])
    assert said == "got ******** and abc for 1"
