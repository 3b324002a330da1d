"""One call of application_hook: a command, an HTTP call, or a maintenance flag in a table, each bounded in time."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

import psycopg2
from psycopg2 import sql

from .database.connection import SessionSettings, identifier, session, transaction
from .database.libpq_environment import environment_of_commands
from .errors import RunbookError, from_driver
from .masking import without_any
from .visible import visible

Result = dict[str, Any]
Params = Mapping[str, Any]

KINDS = ("command", "url", "flag")
OUTPUT_SHOWN = 2000
EMPTY: Result = {"hook": "", "called": False, "status": None, "output": "", "rows": 0}


def call(params: Params, *, check_mode: bool) -> Result:
    """Call the hook. See application_hook for options and result.

    :raises RunbookError: no hook or several, or the hook failed or took too long.
    """
    given = [kind for kind in KINDS if params[kind]]
    if len(given) != 1:
        raise RunbookError(
            f"a call takes exactly one hook, {' or '.join(KINDS)}; given {', '.join(given) or 'none'}.",
            object_name="application_hook",
            next_command="set one of them in the inventory",
        )
    kind = given[0]
    if check_mode:
        return {**EMPTY, "hook": kind, "changed": True, "msg": f"the {kind} hook would be called"}
    act = {"command": _command, "url": _http, "flag": _flag}[kind]
    return {**EMPTY, "hook": kind, "called": True, "changed": True, **act(params)}


def failure(params: Params, what: str, *, sqlstate: str = "") -> RunbookError:
    """Return the failure of the hook, with its secrets removed."""
    purpose = params["purpose"]
    return RunbookError(
        f"the hook that should have {purpose} the application failed: {without_any(what, secrets_of(params))}",
        object_name="application_hook",
        sqlstate=sqlstate,
        next_command=f"make sure by hand that the application is {purpose}, correct the hook, then run the same "
        "command again",
    )


def secrets_of(params: Params) -> list[str]:
    """Return everything that may be secret."""
    values = [params["url"], params["body"], *params["headers"].values(), *params["environment"].values()]
    return [str(value) for value in values if value]


def _command(params: Params) -> Result:
    """Run a command in its own session, so that a timeout also ends the processes that it started."""
    command = [str(part) for part in params["command"]]
    environment = {**environment_of_commands(), **{name: str(text) for name, text in params["environment"].items()}}
    limit = params["total_timeout_seconds"]
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise failure(params, f"{command[0]} cannot be started: {error.strerror}.") from error
    try:
        raw, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise failure(params, f"{command[0]} took longer than {limit:g} s and was ended.") from error
    output = without_any(raw.decode(errors="replace"), secrets_of(params))[-OUTPUT_SHOWN:].strip()
    if process.returncode != 0:
        printed = visible(output) or "it printed nothing"
        raise failure(params, f"{command[0]} ended with status {process.returncode}: {printed}.")
    return {"status": 0, "output": output, "msg": f"{command[0]}: done"}


def _http(params: Params) -> Result:
    """Call an address in a thread with a time limit: a server that answers byte by byte cannot exceed it."""
    address = urllib.parse.urlsplit(params["url"])
    where = address.hostname or ""  # neither path nor query: they may hold a token
    if address.scheme not in ("http", "https") or not where:
        raise failure(params, "the address must begin with http or https.")
    answer: list[tuple[int, str]] = []
    problem: list[Exception] = []

    def ask() -> None:
        try:
            answer.append(_ask(address, where, params))
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem.append(error)

    limit = params["total_timeout_seconds"]
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise failure(params, f"{where} took longer than {limit:g} s to answer.")
    if problem:
        raise failure(params, f"{where}: {type(problem[0]).__name__}: {visible(problem[0])}.") from problem[0]
    status, text = answer[0]
    if status not in params["status_codes"]:
        raise failure(params, f"{where} answered {status}: {visible(text) or 'it printed nothing'}.")
    return {"status": status, "output": "", "msg": f"{where} answered {status}"}


def _ask(address: urllib.parse.SplitResult, where: str, params: Params) -> tuple[int, str]:
    timeout = params["connect_timeout_seconds"]
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        context = ssl.create_default_context(cafile=params["ca_file"] or None)
        connection = http.client.HTTPSConnection(where, address.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(where, address.port, timeout=timeout)
    try:
        connection.connect()
        connection.sock.settimeout(params["total_timeout_seconds"])
        target = urllib.parse.urlunsplit(("", "", address.path or "/", address.query, ""))
        headers = {name: str(value) for name, value in params["headers"].items()}
        connection.request(params["method"], target, body=(params["body"] or "").encode() or None, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(OUTPUT_SHOWN).decode(errors="replace").strip()
    finally:
        connection.close()


def _flag(params: Params) -> Result:
    """Set a boolean column. A row must exist; otherwise the application would not see the change."""
    flag = params["flag"]
    where = flag["where"] or {}
    wanted = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in where]
    statement = sql.SQL("UPDATE {} SET {} = %s{}").format(
        identifier(flag["table"]),
        sql.Identifier(flag["column"]),
        sql.SQL(" WHERE ") + sql.SQL(" AND ").join(wanted) if wanted else sql.SQL(""),
    )
    name = f"{flag['table']}.{flag['column']}"
    settings = SessionSettings(
        application_name="runbook application_hook",
        statement_timeout_seconds=params["total_timeout_seconds"],
        lock_timeout_seconds=params["total_timeout_seconds"],
    )
    options = {**params["connection"], "connect_timeout_seconds": max(2, round(params["connect_timeout_seconds"]))}
    try:
        with session(options, settings) as connection, transaction(connection) as cursor:
            cursor.execute(statement, (flag["value"], *where.values()))
            rows = cursor.rowcount
            if rows == 0:
                raise failure(params, f"{name} has no row to set.")
    except psycopg2.Error as error:
        refusal = from_driver(error, f"{name} could not be set")
        raise failure(params, refusal.msg, sqlstate=refusal.sqlstate) from error
    return {"rows": rows, "msg": f"{name} is {str(flag['value']).lower()} in {rows} rows"}
