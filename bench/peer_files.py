"""Convert our migration files to the form that each peer needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.journal.migration_state import file_steps

Migrations = Sequence[Mapping[str, Any]]


def for_supabase(migrations: Migrations, directory: Path) -> None:
    """Copy the files. The CLI needs a file for the version that the history table already has."""
    room = directory / "supabase" / "migrations"
    room.mkdir(parents=True)
    (room / "20240101000000_base_schema.sql").write_text("-- the tables as they were\n", encoding="utf-8")
    for migration in migrations:
        shutil.copy(migration["file"], room)


def for_dbmate(migrations: Migrations, directory: Path) -> None:
    """Split the files: dbmate sends a file as one query, which the server runs in one transaction in any case.

    So each statement that cannot run in a transaction needs its own file and version.
    """
    for migration in migrations:
        for number, (in_transaction, text) in enumerate(_cut(migration), 1):
            head = "-- migrate:up" if in_transaction else "-- migrate:up transaction:false"
            path = directory / f"{migration['version']}{number:02d}_{migration['name']}.sql"
            path.write_text(f"{head}\n{text}\n\n-- migrate:down\n", encoding="utf-8")


def _cut(migration: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    together: list[str] = []
    for step in file_steps(migration, "applied"):
        if step.kind != "concurrently":
            together.append(step.sql)
            continue
        if together:
            yield True, "\n".join(together)
            together = []
        for statement in step.statements:
            yield False, f"{statement};"
    if together:
        yield True, "\n".join(together)


def for_sqitch(migrations: Migrations, directory: Path) -> None:
    """Copy the files as deploy scripts (psql runs each statement), and create verify scripts from the plan's checks."""
    lines = ["%syntax-version=1.0.0", "%project=tracks_posts_separation", ""]
    for room in ("deploy", "verify", "revert"):
        (directory / room).mkdir()
    before = ""
    for migration in migrations:
        name = str(migration["name"])
        shutil.copy(migration["file"], directory / "deploy" / f"{name}.sql")
        (directory / "verify" / f"{name}.sql").write_text(verify_script(migration), encoding="utf-8")
        lines.append(
            f"{name} {f'[{before}] ' if before else ''}2025-01-22T00:00:00Z bench <bench@example.org> # {name}"
        )
        before = name
    (directory / "sqitch.plan").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (directory / "sqitch.conf").write_text("[core]\n\tengine = pg\n", encoding="utf-8")


def verify_script(migration: Mapping[str, Any]) -> str:
    """Return a script that fails with a division by zero if a check of the migration fails."""
    found = []
    for check in migration["checks"]:
        if check.get("informational"):
            continue
        query = Path(check["query"]).read_text(encoding="utf-8").strip().rstrip(";")
        conditions = [_condition(column, wanted) for column, wanted in check["expect"].items()]
        found.append(
            f"-- {check['name']}\nSELECT 1 / (CASE WHEN count(*) = 1 THEN 1 ELSE 0 END)\nFROM (\n{query}\n) AS q\n"
            f"WHERE {' AND '.join(conditions)};\n"
        )
    return "\n".join(found)


def _condition(column: str, wanted: Any) -> str:
    if isinstance(wanted, Mapping):
        if "equals" in wanted:
            return f"q.{column}::text = q.{wanted['equals']}::text"
        return f"strpos(q.{column}::text, {_literal(wanted['contains'])}) > 0"
    return f"q.{column}::text = {_literal(wanted)}"


def _literal(wanted: Any) -> str:
    text = str(wanted).lower() if isinstance(wanted, bool) else str(wanted)
    return "'" + text.replace("'", "''") + "'"
