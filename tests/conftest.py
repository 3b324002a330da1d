"""Fixtures every test may use: a throwaway server, databases on it, and our modules as Ansible runs them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parent.parent

# Modules import `ansible.module_utils.runbook`; Ansible puts it there at run time, here we do.
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY)]  # support and bench

from support.fixtures import clean_template, database, empty_database, run_module, server  # noqa: E402, F401


def pytest_configure() -> None:
    """End like Ctrl-C when told to terminate, so that the servers of the tests are stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
