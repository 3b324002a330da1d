"""Fixtures every test may use: a throwaway server, databases on it, and our modules as Ansible runs them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Modules import `ansible.module_utils.runbook`; Ansible puts it there at run time, here we do.
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY)]  # support and bench

from support.fixtures import (  # noqa: E402
    clean_template,  # noqa: F401
    database,  # noqa: F401
    empty_database,  # noqa: F401
    migrated,  # noqa: F401
    migrated_stage,  # noqa: F401
    run_module,  # noqa: F401
    server,  # noqa: F401
)
from support.listening import listening  # noqa: E402, F401

#: Process ids of the workers, in the process that hands tests to them.
_workers: list[int] = []


def _end(number: int, frame: object) -> None:
    """End like Ctrl-C, so that the servers of the tests are stopped, and let no second signal interrupt that."""
    for more in (signal.SIGTERM, signal.SIGINT):
        signal.signal(more, signal.SIG_IGN)
    for pid in _workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, _end)
    if hasattr(config, "workerinput"):  # a worker: execnet sends SIGINT once more when its end takes five seconds
        signal.signal(signal.SIGINT, _end)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Let workers stop their servers. Workers exit 15 s after they were asked to, but would be killed earlier."""
    from xdist.workermanage import NodeManager

    NodeManager.EXIT_TIMEOUT = 20


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    """Record a worker's process, because an interrupt reaches only the process that started the tests."""
    _workers.append(node.gateway._io.popen.pid)
