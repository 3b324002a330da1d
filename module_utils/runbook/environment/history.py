"""Compare the migration history with the plan: which versions are pending, and whether their order holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import RunbookError
from ..journal.migration_state import file_steps, migration_table
from ..verification.findings import Finding
from .view import View

HISTORY_TABLE = "supabase_migrations.schema_migrations"

RIGHTS = """
SELECT bool_and(has_table_privilege(%s, wanted.name)) FROM (VALUES ('SELECT'), ('INSERT'), ('DELETE')) AS wanted(name)
"""


def read_history(view: View) -> None:
    """Read which versions the database has, and which of the plan's are pending."""
    exists = view.value("SELECT to_regclass(%s) IS NOT NULL", (HISTORY_TABLE,))
    readable = exists and view.value("SELECT has_table_privilege(%s, 'SELECT')", (HISTORY_TABLE,))
    rows = view.rows("SELECT version FROM supabase_migrations.schema_migrations ORDER BY version") if readable else []
    remote = [row["version"] for row in rows]
    view.facts["history_exists"] = exists
    view.facts["remote"] = remote
    versions = [entry["version"] for entry in view.plan["migrations"]]
    view.facts["applied"] = [version for version in versions if version in remote]
    view.facts["pending"] = [version for version in versions if version not in remote]


def examine_history(view: View) -> Iterator[Finding]:
    """Require a writable history without gaps and without unknown newer versions."""
    user = view.server["user"]
    if not view.facts["history_exists"]:
        text = f"{HISTORY_TABLE} does not exist"
        harm = "none: the first migration creates it, as supabase db push does"
        yield Finding("history_missing", "information", HISTORY_TABLE, text, harm)
        if not view.value("SELECT has_database_privilege(current_database(), 'CREATE')"):
            text = f"{user} may not create the schema of {HISTORY_TABLE}"
            harm = "an applied migration could not be recorded"
            repair = f'GRANT CREATE ON DATABASE "{view.server["database"]}" TO "{user}"'
            yield Finding("history_not_writable", "blocking", HISTORY_TABLE, text, harm, repair)
    elif not view.value(RIGHTS, (HISTORY_TABLE,)):
        text = f"{user} may not read, insert and delete rows of {HISTORY_TABLE}"
        harm = "applied and reverted migrations could not be recorded"
        repair = f'GRANT SELECT, INSERT, DELETE ON {HISTORY_TABLE} TO "{user}"'
        yield Finding("history_not_writable", "blocking", HISTORY_TABLE, text, harm, repair)
    yield from _order(view)


def examine_files(view: View) -> Iterator[Finding]:
    """Require files that parse, no edited or half-reverted migration, and agreement of journal and history."""
    unreadable = [error for entry in view.plan["migrations"] for error in _unreadable(entry)]
    for error in unreadable:
        harm = "the run would stop there, halfway through the plan"
        yield Finding("migration_file", "blocking", error.object_name, error.msg, harm, error.next_command)
    if unreadable or not view.facts["history_exists"]:
        return
    for row in migration_table(view.cursor, view.plan)["migrations"]:
        version = row["version"]
        if row["drift"] == "edited":
            found = f"the file of {version} was edited after it was applied"
            harm = "the database does not match the file, and its revert file may not fit"
            repair = "restore the file; make further changes in a new migration"
            yield Finding("history_drift", "blocking", version, found, harm, repair)
        if row["partial"] == "reverted":
            found = f"{version} is half reverted: {row['steps_done']} of {row['steps']} steps are reverted"
            harm = "later migrations would build on a half-reverted one, and no check of the plan covers that state"
            repair = "finish the rollback: ansible-playbook rollback.yml -e method=reverse"
            yield Finding("history_half_reverted", "blocking", version, found, harm, repair)
        if row["disagreement"]:
            harm = "the progress of this migration cannot be determined"
            repair = "ansible-playbook playbooks/status.yml shows both; see docs/runbook.md, section 12"
            found = f"{version}: {row['disagreement']}"
            yield Finding("history_disagrees", "blocking", version, found, harm, repair)


def _unreadable(migration: Mapping[str, Any]) -> Iterator[RunbookError]:
    for direction in ("applied", "reverted"):
        try:
            file_steps(migration, direction)
        except RunbookError as error:
            yield error


def _order(view: View) -> Iterator[Finding]:
    applied, pending = view.facts["applied"], view.facts["pending"]
    gaps = [version for version in applied if pending and version > pending[0]]
    if gaps:
        yield Finding(
            "history_gap",
            "blocking",
            HISTORY_TABLE,
            f"{', '.join(gaps)} is recorded as applied, but the earlier version {pending[0]} is not",
            "each migration builds on the one before it",
            "find out who applied it and whether its changes exist; if they do not, delete its row from the table",
            [{"version": version} for version in gaps],
        )
    known = {entry["version"] for entry in view.plan["migrations"]} | set(view.accepted_versions)
    first = view.plan["migrations"][0]["version"]
    unknown = [version for version in view.facts["remote"] if version > first and version not in known]
    if unknown and pending:
        yield Finding(
            "history_unknown",
            "blocking",
            HISTORY_TABLE,
            f"{', '.join(unknown)} is applied, newer than the plan's first version, and not in the plan",
            "the plan was written for the schema without them; supabase db push refuses this order as well",
            "read what they changed; if they do not change the plan's tables, add them to "
            "database_accepted_versions in the inventory",
            [{"version": version} for version in unknown],
        )
