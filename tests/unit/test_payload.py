"""What a module loads, and what Ansible parses and packs for it: both are paid at every call."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("name", ["evidence.change_log", "locking.retry", "evidence.compare"])
def test_what_parses_no_sql_loads_no_parser(name: str) -> None:
    loaded = loaded_by(name)
    assert "psycopg2" in loaded
    assert "pglast" not in loaded


def test_a_migration_without_a_backfill_loads_none() -> None:
    loaded = loaded_by("migration.migrate")
    assert "pglast" in loaded
    assert not [name for name in loaded if ".runbook.migration.backfill." in name]


def test_an_examination_of_the_environment_carries_no_reader_of_plans() -> None:
    """Ansible packs what any import names, one for the type checker too, and parses it first."""
    source = (REPOSITORY / "module_utils" / "runbook" / "environment" / "view.py").read_text(encoding="utf-8")
    assert "..plan" not in source


COLLECTED_AFTER = """
import gc
from ansible import context
from ansible.plugins.loader import callback_loader
from ansible.utils.context_objects import CLIArgs
context.CLIARGS = CLIArgs({"check": True})
callback = callback_loader.get("runbook")
callback.set_options()
callback.v2_playbook_on_start(None)
print(gc.get_threshold()[0])
"""


def test_garbage_is_looked_for_seldom_while_a_playbook_runs() -> None:
    """Parsing what a module imports makes a syntax tree of a great many objects, and no garbage."""
    command = [sys.executable, "-c", COLLECTED_AFTER]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY, check=False)
    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", "20000\n")
