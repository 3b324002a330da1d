"""rollback.yml --check: its last words are of the way back, and nothing is written."""

from __future__ import annotations

from support.catalogue import catalogue
from support.migrated import Migrated
from support.playbooks import Operator
from support.servers import query

REVERSE = ("rollback.yml", "--check", "-e", "method=reverse")


def last_words(screen: str) -> list[str]:
    """The lines of the last message before the recap."""
    said = screen[: screen.index("PLAY RECAP")].rpartition(" => ")[2]
    return [line.strip() for line in said.strip().splitlines()]


def test_check_mode_ends_with_what_the_method_would_do(migrated: Migrated) -> None:
    options, operator = migrated.options, migrated.operator
    (run,) = operator.runs()
    before = catalogue(options), sorted(run.rglob("*"))
    nothing, close = "check mode: nothing was written, anywhere", f"would close run {run.name} as rolled back"
    again = "next: the same command without --check"

    whole = operator.type(*REVERSE)
    part = operator.type(*REVERSE, "-e", "rollback_to=20250122000002")
    restored = operator.type(
        "rollback.yml", "--check", "-e", "method=restore", "-e", '{"rollback_options": {"watch_seconds": 0}}'
    )
    refused = operator.type(*REVERSE, "-e", "rollback_to=20990101000000")

    versions = ("20250122000004", "20250122000003", "20250122000002", "20250122000000")
    undo = [f"would undo {version}" for version in versions]
    for would, lines in (
        (whole, [nothing, *undo, close, again]),
        (part, [nothing, *undo[:2], again]),
        (restored, [nothing, f"would restore the backup of run {run.name}", close, again]),
    ):
        assert would.status == 0, would.screen
        assert last_words(would.screen) == lines
        assert "would apply" not in would.text
        assert "Undone: " not in would.text
    assert refused.status == 2
    assert last_words(refused.screen) == [
        nothing,
        "nothing would be done; the failure above gives the reason and the next command",
    ]
    assert (catalogue(options), sorted(run.rglob("*"))) == before


def test_check_mode_of_another_environment_names_the_confirmation(migrated: Migrated) -> None:
    query(migrated.options, "UPDATE migration_runbook.run SET environment = 'staging' RETURNING run_id")
    operator = Operator(migrated.operator.directory, migrated.options, runbook_environment="staging")
    would = operator.type(*REVERSE)
    assert last_words(would.screen)[-1] == "next: the same command without --check and with -e confirm=test_database"
