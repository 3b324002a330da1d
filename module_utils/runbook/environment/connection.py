"""What stands around the session: TLS, read-only mode, and what was set outside and is not used."""

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
    """Outside local the server is proven to be the one that the inventory names, or a reason is given."""
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
    """Sessions of this role in this database may write, unless they say otherwise."""
    if view.value(BEGINS_READ_ONLY) != "on":
        return
    origin = origin_of(view.cursor, "default_transaction_read_only")
    yield Finding(
        "read_only_mode",
        "blocking",
        view.server["database"],
        f"default_transaction_read_only is on, {origin.where}",
        f"{WHY_READ_ONLY} The runbook does not override it",
        f"remove its cause (free disk space first), then as a superuser or the owner: {origin.repair}",
    )


def examine_client_environment(view: View) -> Iterator[Finding]:
    """Variables and files of libpq that would have taken part in another program's connection."""
    given = libpq_parameters(view.options)
    variables = ignored_variables(given)
    encrypted = str(view.options.get("sslmode")) != "disable" and not is_socket(view.options.get("host"))
    files = ignored_files(given, encrypted=encrypted)
    if variables:
        yield Finding(
            "ignored_variables",
            "warning",
            ", ".join(variables),
            f"{', '.join(variables)} {'is' if len(variables) == 1 else 'are'} set in the environment and not used",
            "psql and other programs that you start here may reach another server, or work under other settings, than "
            "this run",
            "unset what you do not need; what the run needs belongs into database_connection of the inventory",
        )
    if files:
        yield Finding(
            "ignored_files",
            "information",
            ", ".join(files),
            f"{', '.join(files)} {'is' if len(files) == 1 else 'are'} there and not used",
            "none for the run: only the files that database_connection names take part",
        )


def examine_overridden_parameters(view: View) -> Iterator[Finding]:
    """Parameters that role, database or server set, and that the sessions of a run override."""
    for name, (given, ours, origin) in overridden_parameters(view.cursor).items():
        if name in NOT_FOR_TOOLS or (name == "role" and view.options.get("role")):
            continue
        yield Finding(
            "setting_overridden",
            "information",
            name,
            f"{name} is {given or 'empty'}, {origin.where}; sessions of the run have {ours or 'an empty value'}",
            "none for the runbook, whose SQL is read the same everywhere"
            if name != "role"
            else "what the run makes belongs to the role that connects",
            "" if name != "role" else f"to act as {given}: set role: {given} in database_connection",
        )
