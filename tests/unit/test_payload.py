"""What a module loads, and what Ansible parses and packs for it: both are paid at every call."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.servers import REPOSITORY

LOADED_BY = """
import importlib, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
importlib.import_module("ansible.module_utils.runbook." + sys.argv[2])
print("\\n".join(sys.modules))
"""


def loaded_by(name: str) -> set[str]:
    """Return the modules that are loaded when one of ours is."""
    command = [sys.executable, "-c", LOADED_BY, str(REPOSITORY / "module_utils"), name]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("name", ["change_log.watch", "migration.lock_attempts", "snapshot.compare"])
def test_what_parses_no_sql_loads_no_parser(name: str) -> None:
    loaded = loaded_by(name)
    assert "psycopg2" in loaded
    assert "pglast" not in loaded


def test_a_migration_without_a_backfill_loads_none() -> None:
    loaded = loaded_by("migration.migration")
    assert "pglast" in loaded
    assert not [name for name in loaded if ".runbook.backfill." in name]


def test_an_examination_of_the_environment_carries_no_reader_of_plans() -> None:
    """Ansible packs what any import names, one for the type checker too, and parses it first."""
    source = (REPOSITORY / "module_utils" / "runbook" / "environment" / "view.py").read_text(encoding="utf-8")
    assert "..plan" not in source
