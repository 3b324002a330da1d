"""Outside local, TLS weaker than verify-full stops a run, whatever the command, unless a reason is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.listening import Listening
from support.orders import create_shop, orders_plan
from support.playbooks import Operator
from support.servers import Options, Server

RunModule = Callable[..., dict[str, Any]]

REQUIRED = {"required": True}
ACCEPTED = {"required": True, "accept": "require", "reason": "the provider's pooler has no certificate"}


@pytest.fixture
def shop(listening: Listening) -> Options:
    options = {**listening.server.create_database(), "connect_timeout_seconds": 3}
    create_shop(options)
    return {**listening.options, "dbname": options["dbname"]}


def findings(
    run_module: RunModule, shop: Options, directory: Path, tls: dict[str, Any], scratch: Any = None, **more: Any
) -> dict[str, Any]:
    result = run_module(
        "pg_environment_info", connection={**shop, **more}, plan=orders_plan(directory / "plan"),
        plan_settings={"keep_notes": True}, free_disk_bytes=10**12, tls=tls, scratch_connection=scratch,
        drill={"wanted": bool(scratch), "elsewhere": bool(scratch)},
    )  # fmt: skip
    about = ("tls", "drill_server")
    return {finding["name"]: finding for finding in result["findings"] if finding["name"].startswith(about)}


def test_the_finding_says_what_is_used_and_how_to_accept_it(
    run_module: RunModule, shop: Options, listening: Listening, tmp_path: Path
) -> None:
    assert findings(run_module, shop, tmp_path, REQUIRED) == {}
    assert findings(run_module, shop, tmp_path, {}, sslmode="disable") == {}, "local"
    over_socket = {"host": listening.server.options["host"], "sslmode": "disable"}
    assert findings(run_module, shop, tmp_path, REQUIRED, **over_socket) == {}
    for mode, used in (
        ("disable", "the session is not encrypted"),
        ("allow", "the session is not encrypted"),
        ("prefer", "the session uses TLS"),
        ("require", "the session uses TLS"),
        ("verify-ca", "the session uses TLS"),
    ):
        found = findings(run_module, shop, tmp_path, REQUIRED, sslmode=mode)["tls_weak"]
        assert found["severity"] == "blocking"
        assert found["found"] == f"sslmode is {mode}, {used}, and the inventory accepts nothing weaker than verify-full"
        assert f"\ndatabase_tls: {{accept: {mode}, reason: …}}" in found["repair"]
    # The address of this machine is no exception: what listens there is not proven either.
    assert findings(run_module, shop, tmp_path, REQUIRED, host="127.0.0.1", sslmode="require").keys() == {"tls_weak"}


@pytest.mark.parametrize(
    ("accept", "mode", "says"),
    [
        ({"accept": "require", "reason": " "}, "require", "the inventory accepts require without a reason"),
        (ACCEPTED, "prefer", "the inventory accepts nothing weaker than require"),
        ({"accept": "tls", "reason": "x"}, "require", "database_tls.accept names no mode: tls"),
    ],
)
def test_what_is_accepted_needs_a_mode_and_a_reason(
    run_module: RunModule, shop: Options, tmp_path: Path, accept: dict[str, Any], mode: str, says: str
) -> None:
    found = findings(run_module, shop, tmp_path, {**REQUIRED, **accept}, sslmode=mode)["tls_weak"]
    assert found["severity"] == "blocking"
    assert says in found["found"]


def test_what_is_accepted_is_shown_with_its_reason(run_module: RunModule, shop: Options, tmp_path: Path) -> None:
    for mode in ("require", "verify-ca"):
        found = findings(run_module, shop, tmp_path, ACCEPTED, sslmode=mode)["tls_accepted"]
        assert found["severity"] == "warning"
        assert "the inventory accepts require: the provider's pooler has no certificate" in found["found"]


@pytest.mark.parametrize("mode", ["require", "disable"])
def test_the_connection_of_the_drill_is_judged_too(
    run_module: RunModule, server: Server, empty_database: Options, shop: Options, tmp_path: Path, mode: str
) -> None:
    """The scratch database holds every row of the backup."""
    create_shop(empty_database)
    name = "database_backup_restore_drill_options.scratch_connection"
    elsewhere = {**shop, "sslmode": mode}
    backup = {"connection": empty_database, "backup_directory": str(tmp_path / "backup")}
    taken = run_module(
        "pg_backup",
        connection=empty_database,
        directory=backup["backup_directory"],
        schemas=["public"],
        minimum_bytes=1,
    )
    assert not taken["failed"], taken["msg"]
    refused = run_module("pg_restore_drill", **backup, scratch_connection=elsewhere, tls=REQUIRED)
    assert refused["failed"]
    assert f"sslmode is {mode}, the session" in refused["msg"]
    assert refused["object"] == f"{name}.sslmode"
    assert f"set sslmode: verify-full and sslrootcert in {name}, or accept it" in refused["next_command"]
    for options, tls in (({**elsewhere, "sslmode": "require"}, ACCEPTED), (shop, REQUIRED), (elsewhere, {})):
        drilled = run_module("pg_restore_drill", **backup, scratch_connection=options, tls=tls)
        assert not drilled["failed"], drilled["msg"]
    found = findings(run_module, empty_database, tmp_path, REQUIRED, scratch=elsewhere)["tls_weak"]
    assert found["found"].startswith(f"{name}: sslmode is {mode}")
    assert f"in {name}," in found["repair"]
    found = findings(run_module, empty_database, tmp_path, REQUIRED, scratch={**shop, "port": 1})["drill_server"]
    assert found["severity"] == "blocking"
    assert name in found["found"]


def test_commands_without_preflight_refuse_it_too(listening: Listening, shop: Options, tmp_path: Path) -> None:
    weak = {**shop, "sslmode": "require", "sslrootcert": ""}
    operator = Operator(tmp_path, weak, runbook_environment="staging")
    refused = operator.type("rollback.yml")
    assert refused.status == 2
    assert "sslmode is require, the session uses TLS, and the inventory accepts nothing weaker" in refused.text
    assert "the connection is encrypted, but any server may answer" in refused.text
    assert "database_tls: {accept: require, reason: …}" in refused.text
    accepted = {"database_tls": {"accept": "require", "reason": "only a test"}}
    (tmp_path / "accepted").mkdir()
    listed = Operator(tmp_path / "accepted", weak, runbook_environment="staging", **accepted)
    seen = listed.type("playbooks/preflight.yml").text
    assert "[warning] tls_accepted (localhost): sslmode is require, the session uses TLS; the inventory accepts" in seen
    assert "require: only a test" in seen
