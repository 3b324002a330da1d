"""Examine TLS, read-only mode, and settings outside the inventory that the run ignores or overrides."""

from __future__ import annotations

from collections.abc import Iterator

from ..database.libpq_environment import ignored_files, ignored_variables
from ..database.options import is_socket, judge, libpq_parameters
from ..database.parameters import NOT_FOR_TOOLS, origin_of, overridden_parameters
from ..database.settings import WHY_READ_ONLY
from ..verification.findings import Finding
from .view import View

BEGINS_READ_ONLY = "SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'"


def examine_tls(view: View) -> Iterator[Finding]:
    """Require TLS that proves the server's identity, or a reason in the inventory, outside local."""
    tls = view.expected.get("tls") or {}
    if not tls.get("required"):
        return
    found = judge(view.cursor.connection, view.options, tls)
    if found is None:
        return
    host = str(view.options["host"])
    if found.fault:
        yield Finding("tls_weak", "blocking", host, found.found, found.harm, found.repair)
    else:
        text = f"{found.found}; the inventory accepts {found.accepted}: {found.reason}"
        yield Finding("tls_accepted", "warning", host, text, found.harm, "set sslmode: verify-full as soon as you can")


def examine_read_only(view: View) -> Iterator[Finding]:
    """Require that sessions of this role in this database are not read-only by default."""
    if view.value(BEGINS_READ_ONLY) != "on":
        return
    origin = origin_of(view.cursor, "default_transaction_read_only")
    yield Finding(
        "read_only_mode",
        "blocking",
        view.server["database"],
        f"default_transaction_read_only is on, {origin.where}",
        f"{WHY_READ_ONLY} The runbook does not override it",
        f"remove the cause (free disk space first), then as a superuser or the owner: {origin.repair}",
    )


def examine_client_environment(view: View) -> Iterator[Finding]:
    """Report libpq variables and files that other programs would use and the run ignores."""
    given = libpq_parameters(view.options)
    variables = ignored_variables(given)
    encrypted = str(view.options.get("sslmode")) != "disable" and not is_socket(view.options.get("host"))
    files = ignored_files(given, encrypted=encrypted)
    if variables:
        yield Finding(
            "ignored_variables",
            "warning",
            ", ".join(variables),
            f"{', '.join(variables)} {'is' if len(variables) == 1 else 'are'} set in the environment and ignored",
            "psql and other programs that you start here may connect to another server or use other settings than "
            "this run",
            "unset what you do not need; put what the run needs into database_connection in the inventory",
        )
    if files:
        yield Finding(
            "ignored_files",
            "information",
            ", ".join(files),
            f"{', '.join(files)} {'exists and is' if len(files) == 1 else 'exist and are'} ignored",
            "none for the run: it uses only the files that database_connection names",
        )


def examine_overridden_parameters(view: View) -> Iterator[Finding]:
    """Report parameters of role, database or server that the sessions of a run override."""
    for name, (given, ours, origin) in overridden_parameters(view.cursor).items():
        if name in NOT_FOR_TOOLS or (name == "role" and view.options.get("role")):
            continue
        yield Finding(
            "setting_overridden",
            "information",
            name,
            f"{name} is {given or 'empty'}, {origin.where}; sessions of the run have {ours or 'an empty value'}",
            "none: the runbook's sessions have the same settings everywhere"
            if name != "role"
            else "objects that the run creates belong to the role that connects",
            "" if name != "role" else f"to act as {given}: set role: {given} in database_connection",
        )
